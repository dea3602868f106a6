"""Provider samples: spans in order, each used once, resets and gaps as they are, and a reason for every lack."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.analysis.engine import Tally
from controller.core.analysis.inputs import Arms, Counts, Missing, Samples
from controller.core.analysis.series import Increments, increase, increments
from tests.controller.core.analysis.worlds import START


def every(interval: float, *values: float, until: float = START) -> Samples:
    """Samples with these values, the last one at `until`."""
    return tuple((until - interval * (len(values) - 1 - index), value) for index, value in enumerate(values))


def growing(
    total: float, events: float, count: int = 21, interval: float = 15.0, until: float = START
) -> Counts:
    return Counts(
        events={"pod=a": every(interval, *(events * n for n in range(count)), until=until)},
        total={"pod=a": every(interval, *(total * n for n in range(count)), until=until)},
    )


def grown(found: Increments) -> Tally:
    total = Tally()
    for span in found.spans:
        total = total.plus(span.counts)
    return total


def test_growth_is_spread_over_the_span_between_two_samples():
    samples = ((100.0, 10.0), (110.0, 30.0))
    assert increase(samples, 100, 110) == 20
    assert increase(samples, 105, 110) == 10
    assert increase(samples, 0, 1000) == 20
    assert increase(samples, 110, 1000) == 0


def test_a_value_that_fell_is_a_reset_and_counts_as_it_is():
    assert increase(((0.0, 100.0), (10.0, 7.0), (20.0, 9.0)), 0, 20) == 9


def test_the_first_sample_of_a_series_is_no_growth():
    assert increase(((5.0, 1000.0),), 0, 10) == 0


def test_both_versions_are_cut_at_the_same_instants_one_scrape_back():
    arms = Arms(growing(10, 1, until=START - 3), growing(90, 2, until=START - 11))
    found = increments(arms, START - 120, None, False, START)
    assert found.lack == ""
    assert found.block_s == 15
    assert [span.since for span in found.spans[1:]] == [span.until for span in found.spans[:-1]]
    assert found.spans[0].since == START - 120
    assert found.upto == found.spans[-1].until <= START - 11 - 15
    covered = found.upto - (START - 120)
    whole = grown(found)
    assert whole.requests == pytest.approx(10 * covered / 15)
    assert whole.reference_events == pytest.approx(2 * covered / 15)


def test_what_was_used_is_not_used_again():
    arms = Arms(growing(10, 1), growing(90, 2))
    first = increments(arms, START - 120, None, False, START)
    again = increments(arms, first.upto, None, False, START + 5)
    assert again.spans == ()
    assert again.upto == first.upto


def test_nothing_counts_before_the_step_is_acknowledged():
    arms = Arms(growing(10, 1), growing(90, 2))
    assert increments(arms, None, None, False, START) == Increments((), None, 15.0)
    first = increments(arms, None, START - 50, False, START)
    assert first.spans[0].since == START - 50


def test_a_restarted_controller_fills_in_what_the_samples_cover():
    arms = Arms(growing(10, 1), growing(90, 2))
    found = increments(arms, START - 200, None, False, START)
    assert grown(found).requests == pytest.approx(10 * (found.upto - START + 200) / 15)
    assert all(span.until - span.since <= 15 + 1e-6 for span in found.spans)


def test_what_no_sample_covers_is_left_out_not_guessed():
    found = increments(Arms(growing(10, 1), growing(90, 2)), START - 100_000, None, False, START)
    assert "before the samples at hand" in found.skipped[0]
    assert grown(found).requests <= 200


def test_a_tick_with_more_events_than_requests_is_left_out_and_said():
    arms = Arms(growing(1, 5), growing(90, 2))
    found = increments(arms, START - 100, None, False, START)
    assert found.spans == ()
    assert set(found.skipped) == {"more events than requests"}
    assert found.upto > START - 100


def test_nan_infinite_and_negative_samples_are_left_out():
    odd = Counts(
        events={"a": every(15, 0, math.nan, 2, -1, 4, math.inf, 6)},
        total={"a": every(15, 0, 10, 20, 30, 40, 50, 60), "b": every(15, math.nan, math.nan)},
    )
    found = increments(Arms(odd, odd), START - 90, None, False, START)
    assert found.skipped == ()
    assert grown(found).events == pytest.approx(grown(found).requests / 10)


EMPTY = Counts({}, {})


@pytest.mark.parametrize(
    ("candidate", "stable", "now", "said"),
    [
        (Missing("prometheus 'main': connection refused"), growing(1, 0), START, "connection refused"),
        (growing(1, 0), Missing("gone"), START, "stable: gone"),
        (EMPTY, growing(1, 0), START, "`total` matched no series of the candidate"),
        (growing(1, 0), EMPTY, START, "`total` matched no series of stable"),
        (
            Counts({}, growing(1, 0).total),
            Counts({}, growing(1, 0).total),
            START,
            "`events` matched no series",
        ),
        (growing(1, 0), growing(1, 0), START + 46, "46 s old, more than 45 s"),
        (growing(1, 0), growing(1, 0, until=START - 100), START, "100 s old"),
        (growing(1, 0), growing(1, 0), START - 60, "in the future: the clocks differ"),
    ],
)
def test_every_lack_has_its_reason(candidate, stable, now, said):
    found = increments(Arms(candidate, stable), START - 500, None, False, now)
    assert said in found.lack
    assert found.spans == ()
    assert found.upto == START - 500


def test_an_absolute_limit_needs_no_stable():
    found = increments(Arms(growing(10, 1), Missing("gone")), START - 90, None, True, START)
    assert grown(found).requests > 0
    assert grown(found).reference_requests == 0


def test_a_candidate_without_errors_yet_has_zero_of_them_where_stable_shows_the_name_is_right():
    candidate = Counts({}, growing(10, 0).total)
    found = increments(Arms(candidate, growing(90, 2)), START - 90, None, False, START)
    assert grown(found).events == 0
    assert grown(found).requests > 0


def test_one_pod_gone_and_one_new_are_counted_while_they_were_there():
    total = {
        "pod=old": every(15, *(10.0 * n for n in range(11)), until=START - 150),
        "pod=new": every(15, *(1000 + 10.0 * n for n in range(10))),
    }
    events = {name: tuple((at, 0.0) for at, _ in samples) for name, samples in total.items()}
    counts = Counts(events, total)
    found = increments(Arms(counts, counts), START - 300, None, False, START)
    end = found.upto
    assert grown(found).requests == pytest.approx(100 + 10 * (end - (START - 135)) / 15)


values = st.lists(st.one_of(st.floats(0, 1e9), st.just(math.nan)), min_size=0, max_size=12)


@given(
    values, values, st.lists(st.floats(-400, 100), min_size=1, max_size=5), st.sampled_from([1.0, 15.0, 60.0])
)
@settings(max_examples=200, deadline=None)
def test_however_it_is_looked_at_spans_never_overlap_and_counts_are_sound(total, events, looks, interval):
    counts = Counts({"a": every(interval, *events)}, {"a": every(interval, *total)})
    upto = None
    reached = -math.inf
    for now in sorted(START + look for look in looks):
        found = increments(Arms(counts, counts), upto, START - 400, False, now)
        for span in found.spans:
            assert span.since >= reached
            assert span.until > span.since
            assert 0 <= span.counts.events <= span.counts.requests
            reached = span.until
        upto = found.upto
