"""What one mail costs: process CPU and memory of the gateway under a compiled load."""
