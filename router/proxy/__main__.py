"""`python -m router.proxy --run DIR --index N --fd FD …`: one worker; the supervisor starts it."""

import argparse
import gc
import sys
from pathlib import Path

import uvloop

from headgate.log import Log
from router.core.counters import WORKERS_MAX
from router.proxy import options
from router.proxy.worker import Worker, raise_descriptor_limit
from router.tls import Unusable


def main() -> int:
    """Serve until SIGTERM; 0 after a drain, 1 if its certificates are of no use."""
    parser = argparse.ArgumentParser(prog="python -m router.proxy", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the router's run directory")
    parser.add_argument(
        "--index", type=int, required=True, help=f"which worker this is, 0 … {WORKERS_MAX - 1}"
    )
    parser.add_argument(
        "--fd", type=int, action="append", required=True, help="an inherited listening socket"
    )
    options.add_to(parser)
    arguments = parser.parse_args()
    # Requests leave no cycles behind; what is allocated at the start stays.
    gc.set_threshold(50_000, 50, 100)
    raise_descriptor_limit()
    try:
        worker = Worker(arguments.run, arguments.index, options.read(arguments))
    except Unusable as error:
        Log(f"worker-{arguments.index}").error("cannot serve", why=error)
        return 1
    uvloop.run(worker.serve(arguments.fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
