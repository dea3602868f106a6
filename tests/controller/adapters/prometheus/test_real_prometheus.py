"""Against a real Prometheus that scrapes a real exporter each second."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from controller.core.analysis.inputs import Arms, Counts, Measurement, Missing, Values
from controller.core.analysis.series import increments
from controller.core.checks import GaugeQuery, PrometheusQuery
from tests.controller.adapters.prometheus.servers import QUERY, Exporter, ask, exporter, prometheus

pytestmark = pytest.mark.needs("prometheus")

M = TypeVar("M", Counts, Values)


def eventually(look: Callable[[], Measurement], holds: Callable[[Any], bool], kind: type[M] = Counts) -> M:
    """The first answer of that kind for which `holds`."""
    ends_at = time.monotonic() + 60
    found: Measurement = Missing("not asked")
    while time.monotonic() < ends_at:
        found = look()
        if isinstance(found, kind) and holds(found):
            return found
        time.sleep(0.2)
    raise AssertionError(found)


def last(series: dict[str, tuple[tuple[float, float], ...]]) -> list[float]:
    return sorted(samples[-1][1] for samples in series.values())


def set_counters(source: Exporter, version: str, pod: str, requests: float, errors: float | None) -> None:
    source.values[f'requests_total{{version="{version}",pod="{pod}"}}'] = requests
    if errors is not None:
        source.values[f'errors_total{{version="{version}",pod="{pod}"}}'] = errors


def test_series_are_kept_apart_by_their_labels_and_versions_never_mix(tmp_path: Path) -> None:
    with exporter() as source:
        set_counters(source, "v8", "a", 100, 1)
        set_counters(source, "v8", "b", 200, 2)
        set_counters(source, "v7", "a", 5000, 50)
        with prometheus(tmp_path, [source.address]) as url:
            found = eventually(lambda: ask(url), lambda counts: len(counts.total) == 2)
            assert last(found.total) == [100, 200]
            assert last(found.events) == [1, 2]


def test_samples_carry_the_time_of_their_scrape_so_a_dead_exporter_is_seen(tmp_path: Path) -> None:
    with exporter() as source:
        set_counters(source, "v8", "a", 100, 1)
        with prometheus(tmp_path, [source.address]) as url:
            eventually(lambda: ask(url), lambda counts: bool(counts.total))
            source.values.clear()
            died_at = time.time()
            found = eventually(
                lambda: ask(url),
                lambda counts: max(s[-1][0] for s in counts.total.values()) < time.time() - 5,
            )
            assert max(samples[-1][0] for samples in found.total.values()) < died_at + 3
            new = increments(Arms(found, found), None, died_at - 60, True, died_at + 120)
            assert "old" in new.lack


def test_a_counter_that_appears_with_its_first_event_is_counted_from_zero(tmp_path: Path) -> None:
    with exporter() as source:
        set_counters(source, "v8", "a", 100, None)
        with prometheus(tmp_path, [source.address]) as url:
            eventually(
                lambda: ask(url), lambda counts: any(len(samples) >= 4 for samples in counts.total.values())
            )
            set_counters(source, "v8", "a", 110, 3)
            found = eventually(lambda: ask(url), lambda counts: bool(counts.events))
            ((before, first, *_),) = found.events.values()
            assert (before[1], first[1]) == (0, 3)
            assert before[0] < first[0]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ('sum(errors_total{version="{{version}}"})', "`events`: it refused the query (status 400): "),
        ('errors_total{version="{{version}}"', "`events`: it refused the query (status 400): "),
        ('rate(errors_total{version="{{version}}"}[1m])', "`events`: it refused the query (status 400): "),
        ('sum(errors_total{version="{{version}}"}) #', "`events` gives a vector: write a plain selector"),
        ('vector(1) # "{{version}}"', "`events` gives a vector: write a plain selector"),
    ],
)
def test_what_is_no_plain_selector_is_refused_in_words(tmp_path: Path, events: str, said: str) -> None:
    with exporter() as source, prometheus(tmp_path, [source.address]) as url:
        found = ask(url, PrometheusQuery("main", events, QUERY.total))
        assert isinstance(found, Missing)
        assert said in found.why


def test_a_selector_that_matches_nothing_gives_no_series(tmp_path: Path) -> None:
    with exporter() as source, prometheus(tmp_path, [source.address]) as url:
        assert ask(url) == Counts({}, {})


GPU = GaugeQuery("main", 'avg(gpu{version="{{version}}"})')

NO_VALUE = {
    'avg(gpu{version="{{version}}"}': "`value`: it refused the query (status 400): ",
    "avg(gpu)": "`value`: it has no {{version}}",
    'gpu{version="{{version}}"}': "`value` gives 2 series: make it one, with avg(…), max(…) or sum(…)",
}


def test_a_value_is_any_one_number_at_points_that_stay_the_same_however_often_one_asks(
    tmp_path: Path,
) -> None:
    with exporter() as source:
        source.values['gpu{version="v8",pod="a"}'] = 0.5
        source.values['gpu{version="v8",pod="b"}'] = 1.0
        source.values['gpu{version="v7",pod="a"}'] = 99.0
        with prometheus(tmp_path, [source.address]) as url:
            found = eventually(lambda: ask(url, GPU), lambda values: bool(values.samples), Values)
            assert {value for _, value in found.samples} == {0.75}
            assert all(at % 15 == 0 for at, _ in found.samples)
            again = ask(url, GPU)
            assert isinstance(again, Values)
            assert set(found.samples) <= set(again.samples)
            for value, said in NO_VALUE.items():
                refused = ask(url, GaugeQuery("main", value))
                assert isinstance(refused, Missing)
                assert said in refused.why


def test_a_value_of_nothing_has_no_points(tmp_path: Path) -> None:
    with exporter() as source, prometheus(tmp_path, [source.address]) as url:
        assert ask(url, GPU) == Values(())
