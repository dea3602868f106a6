"""`make bench-decisions`: false and true rollbacks of Headgate and of others' documented rules, in the same worlds.

Each cell is a world and a rule, seeded by the number of the rollout. `QUICK=1` has fewer rollouts and looks at the
targets with what these can show; the whole run takes hours on two cores. `ROLLOUTS=n` sets the number for good worlds.
"""

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.decisions.latency import seconds_to_fail
from bench.decisions.rules import RULES, Outcome
from bench.decisions.worlds import BAD, GOOD, SECONDS, World, draw, tolerated
from bench.report import Target, is_quick, publish

OURS: Final = "Headgate"
BATCH: Final = 10
SLOWER: Final = (0.2, 1.0)


@dataclass(frozen=True)
class Cell:
    """One rule in one world: of how many rollouts which were rolled back, when, and how many would be promoted.

    `excess` are the requests that failed at the candidate and would not have at stable, for each rollback.
    """

    world: str
    rule: str
    rollouts: int
    seconds: list[int]
    excess: list[float]
    promoted: int

    @property
    def share(self) -> float:
        """The share that was rolled back."""
        return len(self.seconds) / self.rollouts

    @property
    def upper(self) -> float:
        """Its upper 95 % bound (Clopper and Pearson, one-sided)."""
        return upper_bound(len(self.seconds), self.rollouts)


def upper_bound(count: int, of: int, error: float = 0.05) -> float:
    """The largest p for which so few of so many have a chance of `error`: by bisection of the binomial's tail."""
    low, high = count / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(count, of, middle) > error else (low, middle)
    return high


def _at_most(count: int, of: int, p: float) -> float:
    if p >= 1:
        return 1.0 if count >= of else 0.0
    logs = (
        math.lgamma(of + 1)
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + (k * math.log(p) if k else 0.0)
        + (of - k) * math.log1p(-p)
        for k in range(count + 1)
    )
    return math.fsum(math.exp(one) for one in logs)


def batch(world: World, first: int, rollouts: int) -> dict[str, list[tuple[Outcome, float]]]:
    """What each rule did in so many rollouts, and the excess of failures until then."""
    found: dict[str, list[tuple[Outcome, float]]] = {name: [] for name in RULES}
    for seed in range(first, first + rollouts):
        traffic = draw(world, seed)
        for name, rule in RULES.items():
            outcome = rule(world, traffic)
            until = SECONDS if outcome.rolled_back_at is None else outcome.rolled_back_at
            failed = float(traffic.failed[0][:until].sum())
            usual = float((traffic.requests[:until] * world.stable).sum())
            found[name].append((outcome, max(failed - usual, 0.0)))
    return found


def cells(pool: ProcessPoolExecutor, world: World, rollouts: int) -> list[Cell]:
    """All rules in one world."""
    firsts = range(0, rollouts, BATCH)
    sizes = [min(BATCH, rollouts - first) for first in firsts]
    parts = list(pool.map(batch, [world] * len(sizes), firsts, sizes))
    return [_cell(world, name, [one for part in parts for one in part[name]]) for name in RULES]


def _cell(world: World, rule: str, found: list[tuple[Outcome, float]]) -> Cell:
    back = [
        (outcome.rolled_back_at, excess) for outcome, excess in found if outcome.rolled_back_at is not None
    ]
    return Cell(
        world.name,
        rule,
        len(found),
        sorted(second for second, _ in back),
        sorted(excess for _, excess in back),
        sum(outcome.promotes for outcome, _ in found),
    )


def at(values: list[int] | list[float], q: float) -> float:
    """The q-quantile of sorted values, one of them; infinite without any."""
    return float(values[min(math.ceil(q * len(values)) - 1, len(values) - 1)]) if values else math.inf


def table(title: str, found: Iterable[Cell], *, is_good: bool) -> list[str]:
    """The rows of one table, in Markdown, a column for each rule."""
    by_world: dict[str, list[Cell]] = {}
    for cell in found:
        by_world.setdefault(cell.world, []).append(cell)
    lines = [f"| {title} | " + " | ".join(RULES) + " |", "|---" * (len(RULES) + 1) + "|"]
    for world, row in by_world.items():
        lines.append(f"| {world} | " + " | ".join(_words(cell, is_good=is_good) for cell in row) + " |")
    return lines


def _words(cell: Cell, *, is_good: bool) -> str:
    if is_good:
        return f"{_percent(cell.share)} % (≤ {_percent(cell.upper)})"
    if not cell.seconds:
        return "never"
    missed = cell.rollouts - len(cell.seconds)
    said = f"{at(cell.seconds, 0.5):.0f} / {at(cell.seconds, 0.95):.0f} s, {at(cell.excess, 0.5):,.0f} failed"
    return said + (f", {_percent(missed / cell.rollouts)} % missed" if missed else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"


# --- targets -------------------------------------------------------------------------------------------------------


def targets(good: list[Cell], bad: list[Cell], slow: dict[float, list[int]]) -> list[Target]:
    """The figures of Headgate that can be read off these runs."""
    ours = {cell.world: cell for cell in bad if cell.rule == OURS}
    mine = [cell for cell in good if cell.rule == OURS]
    worst = max(mine, key=lambda cell: cell.share)
    found = [Target(f"false rollbacks, worst world ({worst.world}), %", 100 * worst.share, "<=", 1.0)]
    if not is_quick():
        bound = max(100 * cell.upper for cell in mine)
        found.append(Target("false rollbacks, worst upper 95 % bound, %", bound, "<=", 1.3))
    for name, median_s, p95_s in (
        ("5 x from 1 %", 25, 45),
        ("5 x from 0.42 %", 45, 80),
        ("5 x from 0.1 %", 160, 330),
        ("10 x from 1 %, at the 1 % step", None, 60),
        ("2 x from 1 %", None, 400),
        ("half of the answers fail", None, 15),
    ):
        seconds = _with_missed(ours[name])
        if median_s is not None:
            found.append(Target(f"{name}: median, s", at(seconds, 0.5), "<=", median_s))
        found.append(Target(f"{name}: p95, s", at(seconds, 0.95), "<=", p95_s))
    promoted = max(100 * cell.promoted / cell.rollouts for cell in ours.values())
    found.append(Target("promoted although worse than tolerated, worst world, %", promoted, "<=", 5.0))
    for slower, bound_s in zip(SLOWER, (420.0, 40.0), strict=True):
        found.append(Target(f"p99 {slower:+.0%}: p95, s", at([*slow[slower]], 0.95), "<=", bound_s))
    return [target for target in found if math.isfinite(target.value)]


def _with_missed(cell: Cell) -> list[float]:
    return [*map(float, cell.seconds), *[math.inf] * (cell.rollouts - len(cell.seconds))]


def raw(cell: Cell) -> dict[str, Any]:
    """The cell for the file."""
    return {
        "world": cell.world,
        "rule": cell.rule,
        "rollouts": cell.rollouts,
        "rolled_back": len(cell.seconds),
        "upper_95": round(cell.upper, 6),
        "promoted": cell.promoted,
        "seconds": cell.seconds,
        "excess_median": statistics.median(cell.excess) if cell.excess else None,
    }


def main() -> int:
    """Run all cells, print the tables, write the figures; 0 if every target that could be measured was met."""
    good_rollouts = int(os.environ.get("ROLLOUTS", "40" if is_quick() else "5000"))
    bad_rollouts = 60 if is_quick() else 1000
    slow_rollouts = 30 if is_quick() else 500
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    print(
        f"{good_rollouts} rollouts of 15 minutes in each good world, {bad_rollouts} in each bad one; eight checks"
    )
    began = time.monotonic()
    good, bad = list[Cell](), list[Cell]()
    with ProcessPoolExecutor() as pool:
        for worlds, rollouts, into in ((GOOD, good_rollouts, good), (BAD, bad_rollouts, bad)):
            for world in worlds:
                into += cells(pool, world, rollouts)
                ours = into[-len(RULES)]
                said = f"{world.name}: {100 * ours.share:.3g} % rolled back by Headgate"
                print(f"{time.monotonic() - began:6.0f} s  {said}", file=sys.stderr, flush=True)
        slow = {
            slower: sorted(
                second if second is not None else SECONDS + 1
                for second in pool.map(
                    seconds_to_fail, [slower] * slow_rollouts, range(slow_rollouts), chunksize=5
                )
            )
            for slower in SLOWER
        }
    lines = [
        *table("rolled back although good", good, is_good=True),
        "",
        *table("rolled back, median / p95", bad, is_good=False),
    ]
    print("\n".join(lines), end="\n\n")
    runs = {
        "commit": commit,
        "tolerated": {f"{share:g}": tolerated(share) for share in (0.001, 0.0042, 0.01)},
        "not measured": "time to 100 % by ramp: auto",
        "cells": [raw(cell) for cell in (*good, *bad)],
        "latency": {f"{slower:+.0%}": seconds for slower, seconds in slow.items()},
        "table": lines,
    }
    return 0 if publish("decisions", targets(good, bad, slow), runs) else 1


if __name__ == "__main__":
    sys.exit(main())
