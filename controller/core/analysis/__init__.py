"""How evidence becomes a verdict: counters in, three-valued verdicts out, and nothing else."""
