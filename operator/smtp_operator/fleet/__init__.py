"""Pure: what a fleet is, what it is called, and what can be said about it."""
