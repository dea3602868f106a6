"""A controller that starts one model server, says so, and waits to be killed.

python a_controller.py STATE FOLDER DOCUMENT.json [--tell] [--replicas N] [--restarts N]

It prints the ports of all replicas once all are ready, and goes on bringing them to what is asked. With --tell it
says when it begins.
"""

import argparse
import asyncio
import json
from pathlib import Path

from controller.adapters.processes import LocalWorkloads
from controller.core.status import Workload


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("document", type=Path)
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--restarts", type=int, default=0)
    asked = parser.parse_args()
    workloads = LocalWorkloads(asked.state, folder=asked.folder, on_change=lambda key: None)
    await workloads.start()
    if asked.tell:
        print("starting", flush=True)
    documents = {"v1-identity": json.loads(asked.document.read_text())}
    wanted = dict.fromkeys(documents, Workload(asked.replicas, asked.restarts))
    has_told = False
    while True:
        await workloads.apply("default/fraud", documents, wanted)
        seen = (await workloads.observe("default/fraud", documents))["v1-identity"]
        if not has_told and len(seen.endpoints) >= asked.replicas:
            print(*(endpoint.port for endpoint in seen.endpoints), flush=True)
            has_told = True
        await asyncio.sleep(0.02)


asyncio.run(main())
