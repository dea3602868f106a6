"""Router counters: nothing counted twice, nothing of another life, version or time, and gaps said."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.analysis.engine import Tally
from controller.core.analysis.inputs import Roles
from controller.core.analysis.reports import ROUTERS_MAX, News, news, reader
from controller.core.analysis.state import WHOLE, Baseline, Boundary, Counted
from controller.core.checks import AtMost, Check, Metric, NoSlower, NoWorse
from controller.core.status import VersionRef
from headgate.histogram import bucket_of
from headgate.wire.telemetry import Telemetry, VersionCounters
from tests.controller.core.analysis.worlds import CANDIDATE, ERRORS, ROLES, STABLE, START, Router

READ = reader(ERRORS, ROLES, None)
NONE = Tally()


def looked(
    reports: list[Telemetry],
    before: News | None = None,
    now: float = START,
    generation: int = 1,
    read=READ,
    may_fall: bool = False,
) -> News:
    return news(tuple(reports), before.baselines if before else {}, read, generation, may_fall, now)


def test_a_router_seen_for_the_first_time_gives_no_counts():
    router = Router()
    router.count(CANDIDATE.identity, 1000, 500)
    first = looked([router.report(START)])
    assert not first.counts
    router.count(CANDIDATE.identity, 10, 1)
    router.count(STABLE.identity, 90, 2, 45, 1)
    second = looked([router.report(START + 1)], first)
    assert second.counts == {WHOLE: Tally(10, 1, 90, 2)}
    assert (second.halves.requests, second.halves.half_events) == (90, 1)


def test_the_same_report_again_counts_nothing():
    router = Router()
    first = looked([router.report(START)])
    router.count(CANDIDATE.identity, 10, 1)
    second = looked([router.report(START + 1)], first)
    assert looked([router.report(START + 1)], second).counts == {}
    assert looked([router.report(START)], second).counts == {}


def test_a_router_that_restarted_since_the_last_look_began_at_zero():
    router = Router()
    router.count(CANDIDATE.identity, 1000, 500)
    first = looked([router.report(START)])
    late = router.report(START + 5)
    router.restart("boot-2", START + 1)
    router.count(CANDIDATE.identity, 7, 3)
    second = looked([router.report(START + 2)], first)
    assert second.counts[WHOLE] == Tally(7, 3, 0, 0)
    assert looked([late], second).counts == {}


def test_a_version_that_a_router_first_mentions_began_at_zero():
    router = Router()
    router.count(STABLE.identity, 100, 1)
    first = looked([router.report(START)])
    router.count(CANDIDATE.identity, 5, 2)
    assert looked([router.report(START + 1)], first).counts[WHOLE] == Tally(5, 2, 0, 0)


def test_a_version_that_is_missing_from_one_report_is_not_counted_again():
    router = Router()
    router.count(CANDIDATE.identity, 1000, 10)
    router.count(STABLE.identity, 1000, 10)
    first = looked([router.report(START)])
    without = replace_versions(router.report(START + 1), ())
    second = looked([without], first)
    third = looked([router.report(START + 2)], second)
    assert second.counts[WHOLE] == third.counts[WHOLE] == NONE


def replace_versions(report: Telemetry, versions: tuple[VersionCounters, ...]) -> Telemetry:
    return Telemetry(
        rollout=report.rollout,
        router=report.router,
        boot=report.boot,
        started_at=report.started_at,
        at=report.at,
        applied=report.applied,
        versions=versions,
    )


def test_another_try_of_the_same_version_counts_apart():
    router = Router(attempt=2)
    router.count(STABLE.identity, 100, 0)
    first = looked([router.report(START)])
    router.count(CANDIDATE.identity, 50, 50)
    assert looked([router.report(START + 1)], first).counts[WHOLE] == NONE


def test_a_router_that_does_not_run_the_step_yet_counts_nothing_and_nothing_later_of_that_time():
    router = Router(applied="1.4.0")
    first = looked([router.report(START)], generation=5)
    router.count(CANDIDATE.identity, 100, 100)
    second = looked([router.report(START + 1)], first, generation=5)
    assert second.counts == {}
    router.applied = "2.5.0"
    router.count(CANDIDATE.identity, 3, 1)
    assert looked([router.report(START + 2)], second, generation=5).counts[WHOLE] == Tally(3, 1, 0, 0)


@pytest.mark.parametrize("applied", ["", "x", "1.2", "1.-1.0"])
def test_a_report_that_does_not_say_what_it_runs_is_not_counted(applied):
    router = Router()
    first = looked([router.report(START)])
    router.applied = applied
    router.count(CANDIDATE.identity, 3, 1)
    assert looked([router.report(START + 1)], first).counts == {}


@pytest.mark.parametrize(
    ("requests", "failed", "said"), [(5, 9, "more events than requests"), (-5, 0, "went back")]
)
def test_what_cannot_be_is_left_out_and_said(requests, failed, said):
    router = Router()
    router.count(CANDIDATE.identity, 100, 0)
    first = looked([router.report(START)])
    router.count(CANDIDATE.identity, requests, failed)
    second = looked([router.report(START + 1)], first)
    assert second.counts == {}
    assert said in second.skipped[0]
    assert "router-1" in second.skipped[0]


def test_a_silent_router_is_named_after_17_seconds_by_our_clock_whatever_its_own_says():
    router = Router()
    odd_clock = router.report(START - 300)
    first = looked([odd_clock], now=START)
    assert looked([odd_clock], first, now=START + 16).silent == ()
    assert looked([odd_clock], first, now=START + 18).silent == ("router-1",)


def test_no_more_routers_are_followed_than_the_bound():
    many = [Router(name=f"r{n}").report(START) for n in range(ROUTERS_MAX + 10)]
    assert len(looked(many).baselines) == ROUTERS_MAX


def test_slow_answers_time_outs_and_requests_that_hang_are_slow():
    check = Check("latency", Metric.LATENCY, NoSlower())
    read = reader(check, ROLES, Boundary(bucket_of(0.2), 1.5))
    router = Router()
    router.answer(STABLE.identity, [0.01] * 10)
    first = looked([router.report(START)], read=read, may_fall=True)
    router.answer(CANDIDATE.identity, [0.01, 0.01, 0.9])
    router.timeouts[CANDIDATE.identity] = 1
    router.ages[CANDIDATE.identity] = (9, 4, 2, 0, 0, 0, 0, 0, 0)
    second = looked([router.report(START + 1)], first, read=read, may_fall=True)
    assert second.counts[WHOLE] == Tally(3 + 1 + 4, 1 + 1 + 4, 0, 0)
    router.ages[CANDIDATE.identity] = (0, 0, 0, 0, 0, 0, 0, 0, 0)
    router.answer(CANDIDATE.identity, [3.0] * 4)
    third = looked([router.report(START + 2)], second, read=read, may_fall=True)
    assert third.counts[WHOLE] == NONE  # they were counted when they hung


def test_pairs_and_failures_of_the_shadow_alone_count_and_slices_apart():
    check = Check("agree", Metric.DISAGREEMENT, AtMost(0.01), per_slice=True)
    read = reader(check, ROLES, None)
    router = Router()
    first = looked([router.report(START)], read=read)
    router.compare(100, 5, {"digit=4": (10, 4)}, shadow_failed=3)
    second = looked([router.report(START + 1)], first, read=read)
    assert second.counts == {WHOLE: Tally(103, 8), "digit=4": Tally(10, 4)}


def test_pairs_compared_with_another_stable_or_of_another_candidate_do_not_count():
    check = Check("agree", Metric.DISAGREEMENT, AtMost(0.01))
    router = Router()
    router.compare(100, 5)
    report = router.report(START)
    for roles in (
        Roles(CANDIDATE, 1, VersionRef("v6", "hash-of-v6")),
        Roles(VersionRef("v9", "hash-of-v9"), 1, STABLE),
    ):
        assert reader(check, roles, None)(report, {})[WHOLE] == Counted()
    assert reader(check, ROLES, None)(report, {})[WHOLE] == Counted(100, 5)


def test_against_the_noise_stable_replayed_to_itself_is_the_reference():
    check = Check("agree", Metric.DISAGREEMENT, NoWorse(1.0, 0.01))
    read = reader(check, ROLES, None)
    router = Router()
    first = looked([router.report(START)], read=read)
    router.compare(100, 8, self_pairs=40, self_disagreements=2)
    assert looked([router.report(START + 1)], first, read=read).counts == {WHOLE: Tally(100, 8, 40, 2)}


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_happens_no_request_is_counted_twice_and_none_is_made_up(data):
    """Traffic, router restarts, late, lost and repeated reports, a controller that forgets: counted <= sent."""
    seed = data.draw(st.integers(0, 10_000))
    rng = random.Random(seed)
    router = Router()
    router.count(CANDIDATE.identity, 500, 20)
    baselines: dict[str, Baseline] = {}
    history = [router.report(START)]
    sent = counted = failed = 0
    lives = 1
    for second, event in enumerate(data.draw(st.lists(st.sampled_from("tttrolf"), max_size=30)), 1):
        now = START + second
        if event == "t":
            requests = rng.randrange(50)
            router.count(CANDIDATE.identity, requests, rng.randrange(requests + 1))
            sent += requests
        if event == "r":
            lives += 1
            router.restart(f"boot-{lives}", now)
        report = rng.choice(history) if event in "ol" else router.report(now)
        history.append(report)
        if event == "f":
            baselines = {}
        found = news((report,), baselines, READ, 1, False, now)
        baselines = dict(found.baselines)
        new = found.counts.get(WHOLE, NONE)
        counted += new.requests
        failed += new.events
    assert counted <= sent
    assert failed <= counted
