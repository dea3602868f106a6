"""Workloads of local mode: model servers that we start, keep running and take over again, and URLs that we watch.

Model servers do not die with the controller: traffic flows on through the routers while it is away, and a restarted
controller adopts what still runs instead of starting a second copy. Linux only (pidfd, /proc).
"""

from controller.adapters.processes.workloads import LocalWorkloads

__all__ = ["LocalWorkloads"]
