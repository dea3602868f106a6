"""Cumulative counters from Prometheus, through prometheus-api-client and never longer, larger or further than allowed."""
