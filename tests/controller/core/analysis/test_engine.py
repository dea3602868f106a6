"""The e-processes: exactly, on small cases, and safely, on all."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.analysis.engine import (
    BETTER,
    NO_EVIDENCE,
    WORSE,
    Evidence,
    Rules,
    Tally,
    Tolerance,
    add_block,
    is_usable,
    log_gains,
    pass_mass,
    start_mass,
)

small = st.integers(0, 12)
probabilities = st.floats(0, 1)


def binomial(n: int, p: float) -> list[float]:
    """The chance of each count of events."""
    return [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def expected_factors(
    n_c: int, n_s: int, p_c: float, p_s: float, tolerance: Tolerance, ratios: tuple[float, ...]
) -> list[float]:
    """The exact expectation of the block's factor for each alternative, over every outcome there is."""
    total = [0.0] * len(ratios)
    for (e_c, chance_c), (e_s, chance_s) in product(
        enumerate(binomial(n_c, p_c)), enumerate(binomial(n_s, p_s))
    ):
        gains = log_gains(Tally(n_c, e_c, n_s, e_s), tolerance, ratios)
        for index, gain in enumerate(gains):
            total[index] += chance_c * chance_s * math.exp(gain)
    return total


@given(
    n_c=st.integers(1, 12),
    n_s=st.integers(1, 12),
    p_s=probabilities,
    rho=st.sampled_from([1.0, 1.2, 2.0, 5.0]),
    delta=st.sampled_from([0.0, 0.0002, 0.05, 0.5]),
    how_bad=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_a_block_grows_no_evidence_of_worse_while_the_tolerance_is_kept(n_c, n_s, p_s, rho, delta, how_bad):
    """Any base rate, any counts of requests, anywhere inside the tolerance, its edge included."""
    p_c = min(rho * p_s + delta, 1.0) * how_bad
    for expected in expected_factors(n_c, n_s, p_c, p_s, Tolerance(rho, delta), WORSE):
        assert expected <= 1 + 1e-9


@given(
    n_c=st.integers(1, 12),
    n_s=st.integers(1, 12),
    p_s=probabilities,
    rho=st.sampled_from([1.0, 1.2, 2.0]),
    delta=st.sampled_from([0.0, 0.0002, 0.05, 0.5]),
    how_bad=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_a_block_grows_no_evidence_of_better_while_the_tolerance_is_broken(
    n_c, n_s, p_s, rho, delta, how_bad
):
    edge = rho * p_s + delta
    if edge > 1:
        return  # nothing can be worse than that
    p_c = edge + (1 - edge) * how_bad
    for expected in expected_factors(n_c, n_s, p_c, p_s, Tolerance(rho, delta), BETTER):
        assert expected <= 1 + 1e-9


@given(n=st.integers(1, 40), limit=st.sampled_from([0.0, 0.01, 0.2, 1.0]), inside=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_the_absolute_form_needs_no_stable(n, limit, inside):
    tolerance = Tolerance(0.0, limit)
    for expected in expected_factors(n, 0, limit * inside, 0.0, tolerance, WORSE):
        assert expected <= 1 + 1e-9
    for expected in expected_factors(n, 0, limit + (1 - limit) * inside, 0.0, tolerance, BETTER):
        assert expected <= 1 + 1e-9


def sums(evidence: Evidence) -> tuple[float, float, float]:
    return sum(evidence.worse), sum(evidence.strict), sum(evidence.better)


@pytest.mark.parametrize("dispersion", [1.0, 1.7])
@pytest.mark.parametrize("schedule", [((4, 4), (2, 6), (5, 3)), ((1, 6), (1, 6), (4, 4))])
@pytest.mark.parametrize("rates", [(0.2, 0.5, 0.05), (0.5, 0.05, 0.9)])
def test_over_every_path_the_evidence_expected_is_at_most_the_mass_started(schedule, rates, dispersion):
    """Weights that change, a base rate that jumps, clip, phi, and stopping at the first crossing: every path, exactly."""
    rules = Rules(Tolerance(1.0, 0.0), alpha=0.25, interval_alpha=0.25, dispersion=dispersion)
    paths = [(1.0, NO_EVIDENCE, False)]
    for block, ((n_c, n_s), rate) in enumerate(zip(schedule, rates, strict=True)):
        outcomes = list(product(enumerate(binomial(n_c, rate)), enumerate(binomial(n_s, rate))))
        grown = []
        for chance, evidence, has_crossed in paths:
            if has_crossed:
                grown.append((chance, evidence, True))
                continue
            for (e_c, p), (e_s, q) in outcomes:
                after = add_block(evidence, Tally(n_c, e_c, n_s, e_s), block, rules)
                grown.append((chance * p * q, after, after.is_worse_than_tolerated(rules.alpha)))
        paths = grown
    assert sum(chance for chance, _, _ in paths) == pytest.approx(1)
    expected = sum(chance * sum(evidence.worse) for chance, evidence, _ in paths)
    assert expected <= sum(start_mass(block, max(block - 1, 0), block) for block in range(3)) + 1e-9
    assert 0 < sum(chance for chance, _, has_crossed in paths if has_crossed) <= rules.alpha


@given(st.lists(st.integers(0, 3), min_size=1, max_size=300))
def test_the_mass_ever_started_stays_below_one(changes):
    """Whatever the number of weight changes between blocks."""
    started = pass_started = 0.0
    seen = 0
    for block, more in enumerate(changes):
        started += start_mass(block, seen, seen + more)
        pass_started += pass_mass(block)
        seen += more
    assert 0.4 <= started < 1
    assert 0.8 <= pass_started < 1


def test_the_mass_over_time_reaches_one_and_never_exceeds_it():
    blocks = 2_000_000  # 116 days of 5 s
    started = 0.4 + 0.3 * (1 - 1 / (1 + math.log1p(blocks / 12)))
    assert started < 0.7
    assert sum(start_mass(block, 0, 0) for block in range(5000)) == pytest.approx(
        0.4 + 0.3 * (1 - 1 / (1 + math.log1p(5000 / 12)))
    )


def test_one_block_matches_the_closed_form():
    block = Tally(requests=25, events=3, reference_requests=475, reference_events=4)
    rules = Rules(Tolerance(1.2, 0.0002), alpha=1e-6, interval_alpha=0.01, clip_blocks=0.1)
    after = add_block(NO_EVIDENCE, block, 0, rules)
    kappa = 25 / 475
    onset = 0.4 + 0.3 * (1 - 1 / (1 + math.log1p(1 / 12)))
    for r, value in zip(WORSE, after.worse, strict=True):
        x = (r - 1) / (1 + r * 1.2 * kappa)
        factor = (1 + x) ** 3 * (1 - kappa * 1.2 * x) ** 4 * math.exp(-25 * 0.0002 * x)
        assert value == pytest.approx(onset / 10 * factor)
    assert after.ratio == 3 / 25
    assert after.reference == pytest.approx(4 / 475)


def test_no_single_block_can_fail_a_version_but_two_catastrophic_ones_in_a_row_can():
    rules = Rules(Tolerance(1.2, 0.0002), alpha=0.00125, interval_alpha=0.01)
    dreadful = Tally(requests=125, events=125, reference_requests=2375, reference_events=2)
    once = add_block(NO_EVIDENCE, dreadful, 0, rules)
    assert not once.is_worse_than_tolerated(rules.alpha)
    assert add_block(once, dreadful, 0, rules).is_worse_than_tolerated(rules.alpha)
    shared = Tally(requests=125, events=125, reference_requests=2375, reference_events=2375)
    after = add_block(NO_EVIDENCE, shared, 0, rules)
    for _ in range(20):
        after = add_block(after, shared, 0, rules)
    assert not after.is_worse_than_stable(rules.alpha)


def test_more_dispersion_means_less_evidence():
    block = Tally(25, 5, 475, 4)
    plain, spread = (
        sum(add_block(NO_EVIDENCE, block, 0, Rules(Tolerance(1.2, 0.0), 1e-6, 0.01, phi)).worse)
        for phi in (1.0, 2.0)
    )
    assert spread < plain


def test_a_version_that_turns_bad_loses_its_pass():
    rules = Rules(Tolerance(1.2, 0.0002), alpha=0.01, interval_alpha=0.01)
    good, bad = Tally(1250, 0, 1250, 12), Tally(1250, 60, 1250, 12)
    evidence = NO_EVIDENCE
    for _ in range(2000):
        evidence = add_block(evidence, good, 0, rules)
    assert evidence.is_within_tolerance()
    for _ in range(4):
        evidence = add_block(evidence, bad, 0, rules)
    assert not evidence.is_within_tolerance()


huge = st.floats(0, 1e15)


@given(
    blocks=st.lists(st.tuples(huge, huge, probabilities, probabilities), min_size=1, max_size=20),
    rho=st.sampled_from([0.0, 1.0, 1.2, 1000.0]),
    delta=st.sampled_from([0.0, 1e-12, 0.5, 1.0]),
    alpha=st.sampled_from([1e-12, 0.01, 0.999]),
)
@settings(max_examples=300, deadline=None)
def test_no_numbers_make_it_raise_or_leave_the_finite(blocks, rho, delta, alpha):
    tolerance = Tolerance(rho, delta)
    evidence = NO_EVIDENCE
    for requests, reference, p, q in blocks:
        block = Tally(requests, requests * p, reference, reference * q)
        if is_usable(block, tolerance):
            evidence = add_block(evidence, block, 0, Rules(tolerance, alpha, alpha))
    assert all(math.isfinite(value) and value >= 0 for value in sums(evidence))
    if evidence.low is not None and evidence.high is not None:
        assert -1 <= evidence.low <= 1
        assert -1 <= evidence.high <= 1


@pytest.mark.parametrize(
    ("block", "is_catastrophe"),
    [
        (Tally(100, 50, 1000, 10), True),
        (Tally(100, 21, 1000, 10), True),
        (Tally(100, 20, 1000, 10), False),
        (Tally(100, 50, 1000, 50), False),
        (Tally(100, 50, 1000, 300), False),
        (Tally(19, 19, 1000, 0), False),
        (Tally(100, 50, 0, 0), True),
    ],
)
def test_a_catastrophe_is_a_fifth_of_the_requests_twenty_of_them_and_ten_times_what_stable_has(
    block, is_catastrophe
):
    rules = Rules(Tolerance(1.2, 0.0002), alpha=0.01, interval_alpha=0.01)
    assert add_block(NO_EVIDENCE, block, 0, rules).catastrophic is is_catastrophe


def test_an_outage_that_both_share_is_clipped_however_bad_it_is():
    rules = Rules(Tolerance(1.2, 0.0), alpha=0.001, interval_alpha=0.01)
    both = Tally(1000, 900, 1000, 500)
    twice = add_block(add_block(NO_EVIDENCE, both, 0, rules), both, 0, rules)
    assert not twice.is_worse_than_tolerated(rules.alpha)


def test_a_block_says_something_when_both_versions_had_requests_or_stable_is_not_asked():
    compared, absolute = Tolerance(1.2, 0.0), Tolerance(0.0, 0.01)
    assert is_usable(Tally(10, 0, 10, 0), compared)
    assert not is_usable(Tally(10, 0, 0, 0), compared)
    assert not is_usable(Tally(0, 0, 10, 0), compared)
    assert is_usable(Tally(10, 0, 0, 0), absolute)
    assert not is_usable(Tally(0, 0, 10, 0), absolute)
