"""Which replicas of a version start and which leave, as a rule on values: no process, no clock.

The rule keeps one promise: a replica that is ready leaves only while as many others as shall run are ready.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

from controller.core.status import Workload

REPLICAS_MAX: Final = 64
"""So many replicas of one version run here at most, whatever is asked: they share one machine."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica that is to run: its number, the count of asked restarts it was started under, and what it is now."""

    number: int
    restarts: int = 0
    is_ready: bool = False
    is_looping: bool = False


@dataclass(frozen=True, slots=True)
class Moves:
    """The numbers of the replicas to start and of those to take off the traffic and then stop."""

    start: tuple[int, ...] = ()
    stop: tuple[int, ...] = ()


def moves(workload: Workload, replicas: Sequence[Replica], leaving: Collection[int] = ()) -> Moves:
    """What has to happen next. `leaving` are the numbers of those that still run but get no traffic.

    Replicas of another restart count are old. An old one goes for each new one that is ready; new ones are started
    while all that run, with the leaving ones, are at most `surge` more than shall be. A surge below 1 counts as 1,
    since a replacement has to be ready before an old one goes. Replicas that are missing start at once.
    """
    wanted = wanted_of(workload)
    surge = max(workload.surge, 1)
    old = [replica for replica in replicas if is_old(replica, workload)]
    new = [replica for replica in replicas if not is_old(replica, workload)]
    ready = sum(replica.is_ready for replica in new)
    old, gone = _first(old, max(wanted - ready, 0))
    unready_max = wanted + surge - len(old) - ready
    new, surplus = _first(new, min(wanted, ready + max(unready_max, 0)))
    gone += surplus
    missing = max(wanted - len(old) - len(new), 0)
    room = wanted + surge - len(old) - len(new) - missing - len(gone) - len(leaving)
    replacing = min(wanted - len(new) - missing, room) if old else 0
    taken = {replica.number for replica in replicas} | set(leaving)
    free = (number for number in count() if number not in taken)
    return Moves(
        start=tuple(islice(free, missing + max(replacing, 0))),
        stop=tuple(sorted(replica.number for replica in gone)),
    )


def wanted_of(workload: Workload) -> int:
    """How many replicas shall run."""
    return min(max(workload.replicas, 0), REPLICAS_MAX)


def is_old(replica: Replica, workload: Workload) -> bool:
    """Shall another replica take its place? Also where its count is higher: a lost store counts anew, and a restart
    that is asked for then is none of the past."""
    return replica.restarts != workload.restarts


def is_crash_looping(replicas: Collection[Replica]) -> bool:
    """Does the version keep dying: some replica loops and none is ready, or more than half of them loop?"""
    looping = sum(replica.is_looping for replica in replicas)
    return 2 * looping > len(replicas) or (looping > 0 and not any(replica.is_ready for replica in replicas))


def _first(replicas: Iterable[Replica], kept_max: int) -> tuple[list[Replica], list[Replica]]:
    """So many that stay, and the others: those that are ready stay, and of equals those with the lower number."""
    ordered = sorted(replicas, key=lambda replica: (not replica.is_ready, replica.number))
    return ordered[:kept_max], ordered[kept_max:]
