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

MISSED_MAX: Final = 0.1
"""The share of a story's crash points that may never come: one run of it has a few writes more than another."""

MISSED_FREE: Final = 2
"""So many fail no story, however few points it has: one write, before and after."""


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
    """What came of a story's crash points; `whole` is its run without a crash."""

    story: Story
    whole: Run
    tried: int = 0
    missed: int = 0
    wrongs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wrongs += [f"{self.story.name}, without a crash: {wrong}" for wrong in self.whole.wrongs]

    def count(self, point: Point, outcome: Run | BaseException) -> list[str]:
        """Take in what came of this point; what is wrong with it, also if the crash never came."""
        is_missed = isinstance(outcome, Run) and not outcome.died_at
        self.missed += is_missed
        self.tried += not is_missed
        wrongs = list(outcome.wrongs) if isinstance(outcome, Run) else [repr(outcome)]
        whole = self.whole.end.told
        if isinstance(outcome, Run) and outcome.end.told != whole:
            wrongs.append(f"it ended as {outcome.end.told}, and without the crash as {whole}")
        told = [f"{point}{', which never came' * is_missed}: {wrong}" for wrong in wrongs]
        self.wrongs += told
        return told

    @property
    def verdict(self) -> list[str]:
        """Everything that is wrong, also that too many crashes never came: what was not tried is not shown."""
        points = self.tried + self.missed
        if self.missed <= max(MISSED_FREE, MISSED_MAX * points):
            return self.wrongs
        return [*self.wrongs, f"{self.story.name}: {self.missed} of {points} crashes never came"]


class Sweep:
    """All points of some stories, and what came of them."""

    def __init__(self, stage: Stage, stories: Sequence[Story], every: int) -> None:
        self._stage = stage
        self._stories = stories
        self._every = every
        self._numbers = itertools.count(1)
        self.tallies: dict[str, Tally] = {}

    def run(self, workers: int) -> None:
        """Play everything; what is wrong is told at once, and is in the tallies."""
        with ThreadPoolExecutor(workers) as pool:
            for story, whole in zip(self._stories, pool.map(self._without, self._stories), strict=True):
                self.tallies[story.name] = Tally(story, whole)
                _say(f"{story.name}: {len(whole.writes)} writes without a fault {whole.wrongs or ''}")
            tries = {pool.submit(self._with, point): point for point in self._points()}
            for number, done in enumerate(as_completed(tries), 1):
                point, error = tries[done], done.exception()
                for line in self.tallies[point.story.name].count(point, error or done.result()):
                    _say(line)
                _say(f"{number} of {len(tries)}")

    def _points(self) -> list[Point]:
        return [
            Point(story, write, side)
            for story in self._stories
            for write in range(1, len(self.tallies[story.name].whole.writes) + 1, self._every)
            for side in SIDES
        ]

    def _without(self, story: Story) -> Run:
        return self._stage.run(self._name(), story)

    def _with(self, point: Point) -> Run:
        return self._stage.run(self._name(), point.story, point.side, [{"nth": point.write}])

    def _name(self) -> str:
        return f"crash-{next(self._numbers)}"


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
        print(f"{name}: {len(tally.whole.writes)} writes, {tally.tried} crashes, {tally.missed} more never came, "
              f"{len(tally.verdict)} wrong")  # fmt: skip
    total = sum(tally.tried for tally in sweep.tallies.values())
    wrong = [line for tally in sweep.tallies.values() for line in tally.verdict]
    print(
        "\n".join([*wrong, f"{total} crash points in {time.monotonic() - began:.0f} s: {len(wrong)} wrong"])
    )
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main())
