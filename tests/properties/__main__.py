"""`make properties`: the seeded simulator for 200,000 steps in two processes, what it reached, and what it never did."""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from controller.core.status import Cause, Phase, Reason, Track, Verb
from controller.core.steps import Gate
from tests.properties import reach
from tests.properties.simulator import simulate

LENGTH = 2000
"""Steps of one world; then another begins."""

BATCH = 10
STEPS = 200_000
KINDS = ("shadow", "canary", "match", "approval", "pause", "flip", "full")
NEVER_MEANT = {
    f"event: {Reason.BUG}": "a decision that breaks an invariant; told by the reconciler, not by the core",
}


def run(seeds: list[int], data_file: str) -> Counter[str]:
    """Worlds of these seeds with the branches of the core watched; what was reached."""
    watch = reach.watcher(Path(data_file))
    watch.start()
    reached: Counter[str] = Counter()
    for seed in seeds:
        try:
            reached += simulate(seed, LENGTH)
        except AssertionError as broken:
            broken.add_note(f"in the world of seed {seed}: simulate({seed}, {LENGTH}) shows it again")
            raise
    watch.stop()
    watch.save()
    return reached


def wanted() -> Iterator[str]:
    """What must be reached at least once."""
    yield from (f"phase: {phase}" for phase in Phase)
    yield from (f"failed: {cause}" for cause in Cause)
    yield from (f"event: {reason}" for reason in Reason)
    yield from (f"track: {track}" for track in Track)
    yield from (f"gate: {gate}" for gate in Gate)
    yield from (f"stage: {kind}" for kind in KINDS)
    yield from (f"verb: {verb} {answer}" for verb in Verb for answer in ("accepted", "refused"))
    yield from (f"rival: {cause}" for cause in ("CheckFailed", "Guard", "CrashLoop", "Operator"))
    yield from (f"rival: {what}" for what in ("raised", "fails alone", "tries again", "two of them"))
    yield from ("match: 1 versions", "match: 2 versions", "restart: counted")
    yield from ("capacity: grows", "capacity: shrinks", "capacity: waited for")


def gates_and_stages(reached: Counter[str]) -> Counter[str]:
    """How often each gate and each kind of stage was waited at, from the steps `step: kind gate`."""
    found: Counter[str] = Counter()
    for name, count in reached.items():
        if name.startswith("step: "):
            _, kind, gate = name.split()
            found[f"gate: {gate}"] += count
            found[f"stage: {kind}"] += count
    return found


def main(words: list[str]) -> int:
    worlds = max(2, int(words[0] if words else STEPS) // LENGTH)
    started = time.monotonic()
    reached: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2) as pool:
        batches = [list(range(first, min(first + BATCH, worlds))) for first in range(0, worlds, BATCH)]
        files = [Path(folder) / f"branches-{number}" for number in range(len(batches))]
        jobs = [pool.submit(run, batch, str(file)) for batch, file in zip(batches, files, strict=True)]
        for done, job in enumerate(as_completed(jobs), 1):
            reached += job.result()
            print(
                f"{min(done * BATCH, worlds) * LENGTH:>8,} steps in {time.monotonic() - started:.0f} s",
                flush=True,
            )
        unreached = list(reach.never_taken(files))
    reached += gates_and_stages(reached)
    for name, count in sorted(reached.items()):
        print(f"{count:>8,}  {name}")
    missing = [name for name in wanted() if not reached[name] and name not in NEVER_MEANT]
    for name in missing:
        print(f"NEVER REACHED: {name}")
    print(f"branches of controller/core never taken: {len(unreached)}")
    for branch in unreached:
        print(f"  reviewed  {branch}  ({branch.reason})" if branch.reason else f"  NEVER TAKEN  {branch}")
    stale = reach.unused(unreached)
    for file, function, text in stale:
        print(
            f"  NOT NEEDED  {file}  {function}: {text}: strike it from REVIEWED in tests/properties/reach.py"
        )
    print(f"{worlds * LENGTH:,} steps in {time.monotonic() - started:.0f} s, no invariant broken")
    return 1 if missing or stale or not all(branch.reason for branch in unreached) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
