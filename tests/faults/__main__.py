"""`make faults`: SIGKILL of the controller right before and right after every write of every story.

Each story is played once without a fault, which counts its writes, and then once for each write and side; every run
must end as the first did, without a lost request and without a broken invariant. Options for less: names of stories,
`--every 5` for each fifth write, `--workers 3` plays so many stories at once.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster import fixtures
from tests.cluster.testbed.cluster import Testbed
from tests.faults.crashes import SIDES, Run, Side, Stage
from tests.faults.scene import model_servers
from tests.faults.stories import STORIES, Story

WORKERS: Final = 3


@dataclass(frozen=True)
class Point:
    """One crash: at the `write`-th write of the story (from 1), on that side."""

    story: Story
    write: int
    side: Side

    def __str__(self) -> str:
        return f"{self.story.name}, {self.side} write {self.write}"


@dataclass
class Tally:
    """What came of a story's crash points."""

    writes: int
    tried: int = 0
    missed: int = 0
    wrongs: list[str] = field(default_factory=list)


class Sweep:
    """All points of some stories, and what came of them."""

    def __init__(self, stage: Stage, stories: Sequence[Story], every: int) -> None:
        self._stage = stage
        self._stories = stories
        self._every = every
        self._numbers = itertools.count(1)
        self._whole: dict[str, Run] = {}
        self.tallies: dict[str, Tally] = {}

    def run(self, workers: int) -> None:
        """Play everything; what is wrong is told at once, and is in the tallies."""
        with ThreadPoolExecutor(workers) as pool:
            for story, whole in zip(self._stories, pool.map(self._without, self._stories), strict=True):
                self._whole[story.name] = whole
                self.tallies[story.name] = Tally(len(whole.writes), wrongs=list(whole.wrongs))
                _say(f"{story.name}: {len(whole.writes)} writes without a fault {whole.wrongs or ''}")
            tries = {pool.submit(self._with, point): point for point in self._points()}
            for number, done in enumerate(as_completed(tries), 1):
                self._count(tries[done], done.exception(), None if done.exception() else done.result())
                _say(f"{number} of {len(tries)}")

    def _points(self) -> list[Point]:
        return [
            Point(story, write, side)
            for story in self._stories
            for write in range(1, self.tallies[story.name].writes + 1, self._every)
            for side in SIDES
        ]

    def _without(self, story: Story) -> Run:
        return self._stage.run(self._name(), story)

    def _with(self, point: Point) -> Run:
        return self._stage.run(self._name(), point.story, point.side, [{"nth": point.write}])

    def _name(self) -> str:
        return f"crash-{next(self._numbers)}"

    def _count(self, point: Point, error: BaseException | None, run: Run | None) -> None:
        tally = self.tallies[point.story.name]
        if run is not None and not run.died_at:
            tally.missed += 1
            return
        tally.tried += 1
        wrongs = [repr(error)] if run is None else list(run.wrongs)
        whole = self._whole[point.story.name].end.told
        if run is not None and run.end.told != whole:
            wrongs.append(f"it ended as {run.end.told}, and without the crash as {whole}")
        told = [f"{point}: {wrong}" for wrong in wrongs]
        tally.wrongs += told
        for line in told:
            _say(line)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stories", nargs="*", metavar="STORY", help=", ".join(STORIES))
    parser.add_argument("--every", type=int, default=1, help="each so-manieth write only")
    parser.add_argument("--workers", type=int, default=WORKERS, help="stories at once")
    options = parser.parse_args()
    stories = [STORIES[name] for name in options.stories or STORIES]
    fixtures.pytest_configure()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Testbed() as cluster,
        model_servers(Path(folder)) as versions,
    ):
        sweep = Sweep(Stage(cluster, Path(folder), versions), stories, options.every)
        sweep.run(options.workers)
    for name, tally in sweep.tallies.items():
        print(f"{name}: {tally.writes} writes, {tally.tried} crashes, {tally.missed} of them never came, "
              f"{len(tally.wrongs)} wrong")  # fmt: skip
    total = sum(tally.tried for tally in sweep.tallies.values())
    wrong = [line for tally in sweep.tallies.values() for line in tally.wrongs]
    print(
        "\n".join([*wrong, f"{total} crash points in {time.monotonic() - began:.0f} s: {len(wrong)} wrong"])
    )
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main())
