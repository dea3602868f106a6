"""How a router's processes are told where model servers may be (see `headgate.reach`)."""

from argparse import ArgumentParser, Namespace

from headgate.reach import ANYWHERE, Reach, networks


def words(reach: Reach) -> list[str]:
    """How a process is told on its command line."""
    if reach.allowed is None:
        return []
    return ["--guard-upstreams", *(word for one in reach.allowed for word in ("--upstream-allow", str(one)))]


def add_to(parser: ArgumentParser) -> None:
    """Teach a parser what `words` writes."""
    parser.add_argument("--guard-upstreams", action="store_true")
    parser.add_argument("--upstream-allow", action="append", default=[])


def told(given: Namespace) -> Reach:
    """What was told on the command line."""
    return Reach(networks(given.upstream_allow)) if given.guard_upstreams else ANYWHERE
