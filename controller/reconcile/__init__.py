"""The reconcile loop: six verbs around the pure core, and a queue of keys."""
