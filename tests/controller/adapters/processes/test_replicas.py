"""Which replicas start and leave, as a rule on values: told case by case, and played against chance."""

from dataclasses import dataclass, field, replace

from hypothesis import event, given
from hypothesis import strategies as st

from controller.adapters.processes.replicas import (
    REPLICAS_MAX,
    Moves,
    Replica,
    is_crash_looping,
    is_old,
    moves,
)
from controller.core.status import Workload


def ready(*numbers: int, restarts: int = 0) -> list[Replica]:
    return [Replica(number, restarts, is_ready=True) for number in numbers]


def test_what_is_missing_starts_at_once_under_the_lowest_free_numbers() -> None:
    assert moves(Workload(3), []) == Moves(start=(0, 1, 2))
    assert moves(Workload(4), ready(0, 2)) == Moves(start=(1, 3))
    assert moves(Workload(2), ready(0), leaving=[1, 2]) == Moves(start=(3,))
    assert moves(Workload(1), ready(0)) == Moves()


def test_more_than_the_machine_bears_is_not_started() -> None:
    assert len(moves(Workload(1000), []).start) == REPLICAS_MAX


def test_the_surplus_leaves_first_what_is_not_ready_then_the_newest() -> None:
    assert moves(Workload(1), ready(0, 1, 2)) == Moves(stop=(1, 2))
    assert moves(Workload(2), [Replica(0), *ready(1, 2)]) == Moves(stop=(0,))
    assert moves(Workload(0), ready(0)) == Moves(stop=(0,))


def test_a_restart_starts_one_more_and_only_when_that_is_ready_an_old_one_goes() -> None:
    asked = Workload(2, restarts=1)
    assert moves(asked, ready(0, 1)) == Moves(start=(2,))
    assert moves(asked, [*ready(0, 1), Replica(2, 1)]) == Moves()
    assert moves(asked, [*ready(0, 1), *ready(2, restarts=1)]) == Moves(stop=(1,))
    assert moves(asked, [*ready(0), *ready(2, restarts=1)], leaving=[1]) == Moves()
    assert moves(asked, [*ready(0), *ready(2, restarts=1)]) == Moves(start=(1,))
    assert moves(asked, [*ready(0), *ready(1, 2, restarts=1)]) == Moves(stop=(0,))
    assert moves(asked, ready(1, 2, restarts=1), leaving=[0]) == Moves()


def test_as_many_are_replaced_at_a_time_as_may_run_besides() -> None:
    assert moves(Workload(3, 1, surge=2), ready(0, 1, 2)) == Moves(start=(3, 4))
    assert moves(Workload(3, 1, surge=9), ready(0, 1, 2)) == Moves(start=(3, 4, 5))
    assert moves(Workload(3, 1, surge=0), ready(0, 1, 2)) == Moves(start=(3,))


def test_an_old_replica_that_is_not_ready_goes_first_but_not_before_its_replacement_is_ready() -> None:
    asked = Workload(2, restarts=1)
    seen = [Replica(0), *ready(1)]
    assert moves(asked, seen) == Moves(start=(2,))
    assert moves(asked, [*seen, Replica(2, 1)]) == Moves()
    assert moves(asked, [*seen, *ready(2, restarts=1)]) == Moves(stop=(0,))


def test_growing_and_shrinking_go_on_during_a_restart() -> None:
    assert moves(Workload(4, 1), [*ready(0, 1), Replica(2, 1)]) == Moves(start=(3, 4))
    assert moves(Workload(1, 1), [*ready(0, 1, 2), Replica(3, 1)]) == Moves(stop=(1, 2))
    assert moves(Workload(1, 1, surge=1), [*ready(0), Replica(1, 1), Replica(2, 1)]) == Moves(stop=(2,))


def test_replicas_of_a_higher_count_are_replaced_too_since_the_count_began_anew() -> None:
    assert moves(Workload(1, restarts=1), ready(0, restarts=7)) == Moves(start=(1,))


def test_a_version_loops_when_its_only_replica_does_or_more_than_half_or_none_is_ready() -> None:
    loop = Replica(9, is_looping=True)
    assert is_crash_looping([loop])
    assert is_crash_looping([replace(loop, is_ready=True)])
    assert is_crash_looping([loop, Replica(0), Replica(1)])
    assert is_crash_looping([loop, loop, *ready(0)])
    assert not is_crash_looping([loop, *ready(0)])
    assert not is_crash_looping([loop, loop, *ready(0, 1)])
    assert not is_crash_looping([Replica(0)])
    assert not is_crash_looping([])


@dataclass
class Play:
    """Replicas that become ready, die and end their draining by chance, under moves applied after each."""

    asked: Workload = field(default_factory=Workload)
    replicas: dict[int, Replica] = field(default_factory=dict)
    leaving: set[int] = field(default_factory=set)

    def apply(self) -> Moves:
        seen = list(self.replicas.values())
        made = moves(self.asked, seen, self.leaving)
        self._check(made, seen)
        for number in made.stop:
            del self.replicas[number]
            self.leaving.add(number)
        for number in made.start:
            self.replicas[number] = Replica(number, self.asked.restarts)
        return made

    def _check(self, made: Moves, seen: list[Replica]) -> None:
        assert not set(made.start) & (set(self.replicas) | self.leaving)
        assert set(made.stop) <= set(self.replicas)
        before = sum(replica.is_ready for replica in seen)
        after = before - sum(self.replicas[number].is_ready for number in made.stop)
        assert after >= min(before, self.asked.replicas), "readiness was given away"
        allowed = self.asked.replicas + max(self.asked.surge, 1)
        stay = len(seen) - len(made.stop)
        assert not made.start or stay + len(made.start) <= allowed
        is_growth = stay < self.asked.replicas
        assert is_growth or not made.start or len(seen) + len(self.leaving) + len(made.start) <= allowed

    def settle(self) -> int:
        """Everything becomes ready and drains; so many rounds until nothing is left to do."""
        for rounds in range(100):
            self.leaving.clear()
            self.replicas = {n: replace(r, is_ready=True) for n, r in self.replicas.items()}
            if self.apply() == Moves():
                return rounds
        raise AssertionError(f"never done: {self}")


@given(st.data())
def test_whatever_happens_readiness_is_kept_and_in_the_end_all_is_as_asked(data: st.DataObject) -> None:
    play = Play()
    for _ in range(data.draw(st.integers(0, 40))):
        numbers = sorted(play.replicas)
        match data.draw(st.sampled_from(["ask", "restart", "ready", "unready", "crash", "drained"])):
            case "ask":
                wanted, surge = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 3))
                play.asked = replace(play.asked, replicas=wanted, surge=surge)
            case "restart":
                event("restart while some are old" if _has_old(play) else "restart")
                play.asked = replace(play.asked, restarts=play.asked.restarts + 1)
            case "drained" if play.leaving:
                play.leaving.remove(data.draw(st.sampled_from(sorted(play.leaving))))
            case "crash" if numbers:
                number = data.draw(st.sampled_from(numbers))
                play.replicas[number] = Replica(number, play.asked.restarts)
            case "ready" | "unready" as what if numbers:
                number = data.draw(st.sampled_from(numbers))
                play.replicas[number] = replace(play.replicas[number], is_ready=what == "ready")
        play.apply()
        assert play.apply() == Moves(), "the same again changes nothing"
    play.settle()
    assert len(play.replicas) == play.asked.replicas
    assert not _has_old(play)


def _has_old(play: Play) -> bool:
    return any(is_old(replica, play.asked) for replica in play.replicas.values())
