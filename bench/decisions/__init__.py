"""Who decides better, and sooner: Headgate and the rules of others in the same made-up worlds (`python -m bench.decisions`)."""
