"""The supervisor: owns the listening sockets and the run directory, starts and restarts the other processes."""
