"""The `Warmth` port: requests of our own, sent to a new version's endpoints until they were measured steadily fast.

They never go through a router, so no router counts or compares them; the header `x-headgate-shadow: true` tells the
model that no user waits. All measurements are in memory: after a restart of the controller a version is measured
again before its next increase.
"""

from controller.adapters.warmup.warmer import Warmer

__all__ = ["Warmer"]
