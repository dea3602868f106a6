"""A process of its own that lists and indexes all rollouts of a namespace, and says what that took. Not called by hand."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.controller.objects import rollouts
from controller.adapters.kubernetes.api import Api, Settings
from controller.adapters.kubernetes.mirror import Object
from controller.adapters.kubernetes.reflector import Reflector
from headgate.log import Log


def memory_mib() -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def by_target(rollout: Object) -> Iterator[str]:
    yield rollout["spec"]["target"]


async def listed(kubeconfig: str, namespace: str) -> dict[str, Any]:
    api = Api.connect(Settings(kubeconfig=kubeconfig, namespace=namespace))
    before, began = memory_mib(), time.monotonic()
    copy = Reflector(api, rollouts(namespace), _ignore, log=Log("bench"), index={"target": by_target})
    running = asyncio.create_task(copy.run())
    await copy.wait_synced()
    took_s = time.monotonic() - began
    found = {
        "s": round(took_s, 2),
        "objects": len(copy.indexed("target", "v1")) + len(copy.indexed("target", "v2")),
        "mib": round(memory_mib(), 1),
        "mib_before": round(before, 1),
    }
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await api.close()
    return found


def _ignore(key: str, before: Object | None, after: Object | None) -> None:
    return


if __name__ == "__main__":
    print(json.dumps(asyncio.run(listed(*sys.argv[1:]))))
