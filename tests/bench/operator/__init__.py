"""What a thousand fleets cost one operator."""
