"""`make cluster-up`: a Kubernetes API to try things on, until Ctrl-C."""

import signal
import sys
import threading

from tests.cluster.testbed.cluster import ADMIN, CannotStart, Testbed


def main() -> int:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with Testbed() as cluster:
            print(f"Kubernetes {cluster.client().get('/version').json()['gitVersion']} at {cluster.url}")
            print(f"  export KUBECONFIG={cluster.kubeconfig()}")
            for name in cluster.people:
                if name != ADMIN:
                    print(f"  as {name}: {cluster.kubeconfig(name)}")
            print(f"Logs in {cluster.folder}. Ctrl-C ends it and removes everything.", flush=True)
            ended.wait()
    except CannotStart as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
