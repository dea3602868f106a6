"""A Kubernetes API server as store and as world: raw JSON objects over the official client's authentication and transport."""
