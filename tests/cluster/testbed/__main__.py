"""`make cluster-up`: a Kubernetes API to try things on, until Ctrl-C.

With arguments, these are a command that is run on it (KUBECONFIG names it, kubectl is on the PATH), and it ends with it.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.cluster.testbed import binaries
from tests.cluster.testbed.cluster import ADMIN, CannotStart, Testbed


def main() -> int:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with Testbed() as cluster:
            if sys.argv[1:]:
                return on(cluster, sys.argv[1:], ended)
            offer(cluster)
            ended.wait()
    except CannotStart as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def offer(cluster: Testbed) -> None:
    """Say how to reach it."""
    print(f"Kubernetes {cluster.client().get('/version').json()['gitVersion']} at {cluster.url}")
    print(f"  export KUBECONFIG={cluster.kubeconfig()}")
    for name in cluster.people:
        if name != ADMIN:
            print(f"  as {name}: {cluster.kubeconfig(name)}")
    print(f"Logs in {cluster.folder}. Ctrl-C ends it and removes everything.", flush=True)


def on(cluster: Testbed, command: list[str], ended: threading.Event) -> int:
    """Run the command to its end, on this cluster; its exit code. Who ends us ends it first."""
    found = binaries.find("kubectl")
    programs = [Path(sys.executable).parent, *([found.parent] if found is not None else [])]
    path = os.pathsep.join([*map(str, programs), os.environ.get("PATH", "")])
    with subprocess.Popen(
        command, env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig()), "PATH": path}
    ) as running:
        while running.poll() is None:
            if ended.wait(0.1):
                running.terminate()
                return running.wait()
        return running.returncode


if __name__ == "__main__":
    sys.exit(main())
