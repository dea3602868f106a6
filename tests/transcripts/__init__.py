"""Readable stories of what the core decides: input on the left, decisions on the right."""
