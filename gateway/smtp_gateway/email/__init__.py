"""Pure: message bytes in, dataclasses out. No I/O, no clock, no logging."""
