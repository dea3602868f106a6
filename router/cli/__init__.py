"""The router's verbs of the command: `router`, and those that read what its observer recorded."""
