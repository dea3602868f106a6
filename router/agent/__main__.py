"""`python -m router.agent`: started by the supervisor, with everything it needs on its command line."""

import argparse
import sys
from pathlib import Path

import uvloop

from router.agent.controller import Address
from router.agent.service import Duty, serve


def duty(argv: list[str]) -> Duty:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m router.agent")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--rollout", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--admin-fd", type=int, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--controller", action="append", default=[])
    source.add_argument("--plan", type=Path)
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--controller-ca", type=Path)
    parser.add_argument("--controller-host", action="append", default=[])
    given = parser.parse_args(argv)
    address = None
    if given.controller:
        hosts = frozenset(given.controller_host)
        address = Address(tuple(given.controller), given.token_file, hosts, given.controller_ca)
    return Duty(given.run, given.rollout, given.id, given.admin_fd, address, given.plan)


if __name__ == "__main__":
    uvloop.run(serve(duty(sys.argv[1:])))
