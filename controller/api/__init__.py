"""The controller's HTTP API: for people and their tools (rollouts, actions) and for routers (plans, telemetry)."""
