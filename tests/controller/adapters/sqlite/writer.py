"""A controller that writes as fast as it can and says after each write what is now safe; made to be killed.

    python writer.py STATE.db [BYTES_MAX]

Prints one number a line, after the write of that number returned. With BYTES_MAX no file may grow beyond it.
"""

import asyncio
import itertools
import resource
import sys
from pathlib import Path

from controller.adapters.sqlite import SqliteStore
from controller.core.status import Action, ActionResult, Decision, DecisionRecord, Event, Reason, Status, Verb
from controller.errors import StoreUnavailable
from controller.ports import Recorded

KEY = "default/fraud"


def recorded(number: int) -> Recorded:
    """One reconcile: status, a record, an event and a decided action that all carry the same number."""
    sentence = f"write {number} " + "x" * (number % 7 * 500)
    return Recorded(
        decision=Decision(
            status=Status(observed_generation=number, message=sentence),
            plan=None,
            running={},
            records=(DecisionRecord(0.0, Reason.WEIGHT_RAISED, "v8", 0, 1, "canary", sentence, 1, number),),
            events=(Event(float(number), Reason.STAGE_ENTERED, sentence),),
            actions=(ActionResult(f"a{number}", True, sentence),),
        ),
        analysis=str(number).encode(),
        results=(),
    )


async def main(path: Path) -> None:
    store = SqliteStore(path, rows_max=50)
    stored = await store.put_document(KEY, {"spec": {}})
    for number in itertools.count(stored.status.observed_generation + 1):
        await store.add_action(KEY, Action(f"a{number}", Verb.PROMOTE, "v8", "ada"))
        await store.record(KEY, recorded(number))
        print(number, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        asyncio.run(main(Path(sys.argv[1])))
    except StoreUnavailable as error:
        print(error, flush=True)
        sys.exit(3)
