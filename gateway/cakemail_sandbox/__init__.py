"""A stand-in of the Cakemail API for demos and tests: same answers, faults on command, an inbox."""
