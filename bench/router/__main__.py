"""`make bench-router`: Headgate's router beside nginx, HAProxy and Envoy, in one run, on one core each in turns.

`python -m bench.router [ROW …]` measures some rows and writes nothing. The first core of this process is for the proxy
that is measured, with all its processes; load and model servers are on the others.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench.report import Target, is_quick, publish
from bench.router import servers
from bench.router.machine import Cores
from bench.router.peers import envoy_program
from bench.router.rows import FULL, QUICK, ROWS, Bench


def programs() -> dict[str, str]:
    """The peers that are there, and a word about those that are not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headgate" / "bench" / "envoy"
    found = {name: shutil.which(name) for name in ("nginx", "haproxy")} | {"envoy": envoy_program(cache)}
    for name, path in found.items():
        if path is None:
            print(f"  {name} is not there: what it would be compared with is left out")
    return {name: path for name, path in found.items() if path is not None}


def main() -> int:
    """0 if every target that was measured is met, 1 if one is missed, 2 if it cannot be measured here."""
    parser = argparse.ArgumentParser(prog="python -m bench.router", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all without any")
    rows = parser.parse_args().rows
    missing = [name for name in ("wrk", "nginx", "taskset") if shutil.which(name) is None]
    if missing or set(rows) - set(ROWS):
        print(
            f"bench-router needs {', '.join(missing)}" if missing else parser.format_usage(), file=sys.stderr
        )
        return 2
    cores = Cores.of_this_machine()
    os.sched_setaffinity(0, cores.others)
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as name:
        folder = Path(name)
        with servers.fast(cores, folder / "model") as (model, pid):
            bench = Bench(cores, folder, QUICK if is_quick() else FULL, model, pid, programs())
            for row in rows or ROWS:
                print(f"{row}:", flush=True)
                ROWS[row](bench)
    if rows:
        return _said(bench.targets)
    return 0 if publish("router", bench.targets, bench.runs) else 1


def _said(targets: list[Target]) -> int:
    for one in targets:
        print(f"{one.name}: {one.value:,g} {one.op} {one.bound:,g}{'' if one.is_met else '  MISSED'}")
    return 0 if all(one.is_met for one in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
