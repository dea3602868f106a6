"""A controller that starts one model server, says so, and waits to be killed.

python a_controller.py STATE FOLDER DOCUMENT.json
"""

import asyncio
import json
import sys
from pathlib import Path

from controller.adapters.processes import LocalWorkloads


async def main(state: Path, folder: Path, document: Path) -> None:
    workloads = LocalWorkloads(state, folder=folder, on_change=lambda key: None)
    await workloads.start()
    if "--tell" in sys.argv:
        print("starting", flush=True)
    documents = {"v1-identity": json.loads(document.read_text())}
    await workloads.apply("default/fraud", documents, frozenset(documents))
    while not (seen := (await workloads.observe("default/fraud", documents))["v1-identity"]).endpoints:
        await asyncio.sleep(0.02)
    print(seen.endpoints[0].port, flush=True)
    await asyncio.sleep(600)


asyncio.run(main(*map(Path, sys.argv[1:4])))
