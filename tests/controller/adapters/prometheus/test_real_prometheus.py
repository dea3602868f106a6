"""Against a real Prometheus that scrapes a real exporter each second."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.core.analysis.inputs import Arms, Counts, Missing
from controller.core.analysis.series import increments
from controller.core.checks import PrometheusQuery
from tests.controller.adapters.prometheus.servers import QUERY, Exporter, ask, exporter, prometheus

pytestmark = pytest.mark.needs("prometheus")


def eventually(look: Callable[[], Counts | Missing], holds: Callable[[Counts], bool]) -> Counts:
    """The first answer for which `holds`."""
    ends_at = time.monotonic() + 60
    found: Counts | Missing = Missing("not asked")
    while time.monotonic() < ends_at:
        found = look()
        if isinstance(found, Counts) and holds(found):
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
