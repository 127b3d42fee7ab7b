"""The Cakemail API: logins, look-ups, submissions, and what its answers mean."""
