"""The controller's pure core: judge and decide. No I/O, no clock, no randomness, no logging."""
