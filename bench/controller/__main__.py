"""What the controller costs and how long it takes, on a real API server, with the targets of docs/benchmarks.md.

    make bench-controller            QUICK=1 for a tenth of it in a few minutes
    make bench-controller PARTS=latency     scale, latency or leaders alone; the file keeps the figures of the others

Routers are simulated (`fleet`), versions are Services without pods; API server and etcd run on the same machine, so the
figures are of all of them together.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any

from bench.controller import latency, leaders, scale
from bench.report import OUT, Target, is_quick, publish

NAME = "controller"
Found = tuple[list[Target], dict[str, Any]]


def parts() -> dict[str, Callable[[], Coroutine[Any, Any, Found]]]:
    if is_quick():
        return {
            "scale": lambda: scale.measured(100, 20, 1000, 15.0, 1),
            "latency": lambda: latency.measured(10, 20, 5, 20.0),
            "leaders": lambda: leaders.measured(1, 2),
        }
    return {
        "scale": lambda: scale.measured(1000, 200, 10_000, 60.0, 3),
        "latency": lambda: latency.measured(100, 100, 30, 60.0),
        "leaders": lambda: leaders.measured(3, 100),
    }


def known() -> dict[str, Found]:
    """What earlier runs of single parts have left."""
    path = OUT / f"{NAME}.json"
    written = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    return {
        part: ([Target(**target) for target in told["targets"]], told["runs"])
        for part, told in written["runs"].items()
    }


def main(wanted: list[str]) -> int:
    measures = parts()
    found = known() if wanted else {}
    for part in wanted or measures:
        found[part] = asyncio.run(measures[part]())
    targets = [target for targets, _ in found.values() for target in targets]
    runs = {
        part: {"targets": [asdict(target) for target in targets], "runs": told}
        for part, (targets, told) in found.items()
    }
    return 0 if publish(NAME, targets, runs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
