"""A proxy between a client and the Kubernetes API server that does what networks, servers and bad luck do."""
