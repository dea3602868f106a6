"""The controller: reconciles ModelRollouts, weighs the evidence and decides what the routers shall do."""
