"""The router's pure core: no I/O, no clock, no randomness; the processes around it do what it says."""
