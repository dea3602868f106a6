"""What the controller and the router share, and nothing else: the wire, buckets, redaction, the front door."""
