"""A process that campaigns, and while it leads writes as fast as it can; what it is told to do goes wrong on purpose.

`python an_elector.py KUBECONFIG NAME [hang]`: prints `leading N`, then `lost` or `released`; `hang` blocks the loop.
"""

import asyncio
import signal
import sys
import time

from controller.adapters.kubernetes.api import Api, ApiError, Settings, path_of
from controller.adapters.kubernetes.leases import Elector, Timing
from headgate.log import Log

TIMING = Timing(duration_s=10.0, renew_deadline_s=8.0, retry_s=1.5)


def say(text: str) -> None:
    print(text, flush=True)


async def main(kubeconfig: str, name: str, mishap: str) -> None:
    api = Api.connect(Settings(kubeconfig=kubeconfig, namespace="default"))
    elector = Elector(api, "headgate", Log(name), identity=name, timing=TIMING)
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    say(f"leading {await elector.acquire()}")
    leading = asyncio.create_task(elector.lead(lambda why: (say("lost"), ending.set())[0]))
    writing = [asyncio.create_task(write(api.fenced(elector.is_leader), name)) for _ in range(4)]
    if mishap == "hang":
        time.sleep(300)
    await ending.wait()
    for task in (leading, *writing):
        task.cancel()
    await elector.release()
    await api.close()
    say("released")


async def write(api: Api, name: str) -> None:
    """Writes without pause, and without asking: the fence has to hold them."""
    while True:
        try:
            await api.merge_patch(
                path_of("", "v1", "configmaps", "default", "written"), {"data": {"by": name}}
            )
        except ApiError:
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], (sys.argv[3:] or [""])[0]))
