"""Where slow begins, and how much more often a candidate may be slow."""

import random

import pytest

from controller.core.analysis.latency import bound_s, fix, named, stable_histogram
from controller.core.analysis.state import Boundary
from controller.core.checks import NoSlower
from headgate.histogram import BOUNDS_S, BUCKETS, bucket_of
from tests.controller.core.analysis.worlds import CANDIDATE, ROLES, STABLE, START, Router

P99 = NoSlower(0.99, 0.1)


def lognormal(count: int, scale: float = 1.0) -> list[int]:
    rng = random.Random(1)
    histogram = [0] * BUCKETS
    for _ in range(count):
        histogram[bucket_of(scale * rng.lognormvariate(-3.0, 0.5))] += 1
    return histogram


def share_slower(histogram: list[int], boundary: Boundary) -> float:
    return sum(histogram[boundary.bucket + 1 :]) / sum(histogram)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_the_boundary_is_near_the_quantile(quantile):
    stable = lognormal(50_000)
    boundary = fix(stable, NoSlower(quantile, 0.1))
    assert isinstance(boundary, Boundary)
    assert 1 / 1.5 < share_slower(stable, boundary) / (1 - quantile) < 1.5


@pytest.mark.parametrize("slower", [0.1, 0.21, 0.5, 3.0])
def test_a_candidate_that_is_just_as_much_slower_as_tolerated_is_just_tolerated(slower):
    """Its share of slow answers is the tolerated ratio times stable's, up to the width of a bucket."""
    stable = lognormal(200_000)
    boundary = fix(stable, NoSlower(0.9, slower))
    assert isinstance(boundary, Boundary)
    candidate = share_slower(lognormal(200_000, 1 + slower), boundary)
    assert candidate == pytest.approx(boundary.ratio * share_slower(stable, boundary), rel=0.15)


def test_how_far_the_boundary_is_from_the_quantile_is_told():
    coarse = [0] * BUCKETS
    coarse[30], coarse[60] = 8000, 2000
    boundary = fix(coarse, P99)
    assert isinstance(boundary, Boundary)
    assert boundary.nearness == pytest.approx(20)
    assert fix(lognormal(50_000), P99).nearness == pytest.approx(1, rel=0.5)


def test_too_short_a_history_is_said_with_what_is_needed():
    assert fix(lognormal(999), P99) == "stable has 999 answers, its p99 needs 1,000"
    assert isinstance(fix(lognormal(1000), P99), Boundary)


def test_answers_that_are_all_alike_have_no_tail_to_compare():
    alike = [0] * BUCKETS
    alike[40] = 5000
    assert "one latency bucket" in str(fix(alike, P99))


def test_answers_beyond_the_last_bound_are_slow():
    beyond = [0] * BUCKETS
    beyond[10], beyond[-1] = 9900, 100
    boundary = fix(beyond, P99)
    assert isinstance(boundary, Boundary)
    assert bound_s(boundary) <= BOUNDS_S[-1]


@pytest.mark.parametrize("limit", [NoSlower(0.0, 0.1), NoSlower(1.0, 0.1), NoSlower(0.99, -0.5)])
def test_a_limit_that_cannot_be_judged_is_said(limit):
    assert "cannot be judged" in str(fix(lognormal(5000), limit))


def test_only_stable_of_all_routers_is_asked():
    routers = [Router("a"), Router("b")]
    for router in routers:
        router.answer(STABLE.identity, [0.01] * 5)
        router.answer(CANDIDATE.identity, [9.0] * 5)
    histogram = stable_histogram(tuple(router.report(START) for router in routers), ROLES)
    assert sum(histogram) == 10
    assert histogram[bucket_of(0.01)] == 10


def test_quantiles_are_named_as_people_do():
    assert [named(q) for q in (0.5, 0.99, 0.999)] == ["p50", "p99", "p99.9"]
