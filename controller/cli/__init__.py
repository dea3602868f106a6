"""The verbs that speak to the controller's API, and those that need none (up, lint, version)."""
