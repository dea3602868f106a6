"""The worker: an HTTP/1.1 reverse proxy that picks a version, streams both ways, counts, and does nothing else."""
