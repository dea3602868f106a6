"""The `Counters` port over Prometheus: whatever happens there, an answer within a bounded time.

Each counter is asked for as a range of raw samples (`selector[300s]`): the samples come with the times at which
they were scraped, so a dead exporter cannot pass for a quiet one, as it can for five minutes with an instant value;
and what a restarted controller missed is still in it. A gauge is any expression; it is asked for at the same points in
time whenever it is asked, so that no point counts twice.

Each provider has threads of its own, so that a slow one delays nobody else's queries.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from controller.adapters.prometheus.promql import for_version
from controller.adapters.prometheus.session import Answer, Call, Client, Unavailable, one_line
from controller.core.analysis.inputs import Counts, Measurement, Missing, Samples, Values
from controller.core.checks import GaugeQuery, PrometheusQuery, Query

WINDOW_S: Final = 300
STEP_S: Final = 15
DEADLINE_S: Final = 5.0
CONCURRENCY: Final = 4
SERIES_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Provider:
    """A Prometheus by the name that specs use. `bearer_file` is read before every query, so that it may be rotated."""

    name: str
    url: str
    bearer_file: Path | None = None


@dataclass(slots=True)
class _Threads:
    """A provider's own threads and connections: another provider's slowness cannot take them."""

    provider: Provider
    pool: ThreadPoolExecutor
    idle: list[Client] = field(default_factory=list)


class PrometheusCounters:
    """Counters from configured Prometheus servers. Every answer comes within `deadline_s`, waiting for a thread included."""

    def __init__(self, providers: Iterable[Provider], *, deadline_s: float = DEADLINE_S) -> None:
        self._threads = {
            provider.name: _Threads(provider, ThreadPoolExecutor(CONCURRENCY, f"prometheus-{provider.name}"))
            for provider in providers
        }
        self._deadline_s = deadline_s

    async def counts(self, query: Query, version: str) -> Measurement:
        """What was measured of this version in the last minutes; Missing says why there is nothing."""
        threads = self._threads.get(query.provider)
        if threads is None:
            known = ", ".join(sorted(self._threads)) or "none"
            return Missing(
                f"{query.provider!r} is no metric provider of this controller (configured: {known})"
            )
        call = Call(self._deadline_s)
        work = asyncio.get_running_loop().run_in_executor(threads.pool, _ask, threads, query, version, call)
        try:
            async with asyncio.timeout(self._deadline_s):  # wait_for swallows a cancellation that meets the answer
                return await work
        except TimeoutError:
            return Missing(f"prometheus {query.provider!r}: it did not answer within {self._deadline_s:g} s")
        finally:
            call.abort()

    async def close(self) -> None:
        """Ends every thread; nothing may be asked any more."""
        for threads in self._threads.values():
            await asyncio.to_thread(threads.pool.shutdown, wait=True, cancel_futures=True)
            for client in threads.idle:
                client.close()


def _ask(threads: _Threads, query: Query, version: str, call: Call) -> Measurement:
    """The answer, in a thread of the provider."""
    client = threads.idle.pop() if threads.idle else Client(threads.provider.url)
    name = f"prometheus {threads.provider.name!r}"
    try:
        headers = _headers(threads.provider)
        if isinstance(query, GaugeQuery):
            found: Measurement = _values(client, query, version, headers, call)
        else:
            found = _counts(client, query, version, headers, call)
    except (Unavailable, ValueError) as error:
        client.close()
        return Missing(one_line(f"{name}: {error}"))
    threads.idle.append(client)
    return found


def _values(
    client: Client, query: GaugeQuery, version: str, headers: Mapping[str, str], call: Call
) -> Values:
    """The value at each quarter of a minute in the last minutes."""
    until = int(time.time() // STEP_S * STEP_S)
    try:
        promql = for_version(query.value.strip(), version)
        answer = client.query_range(promql, until - WINDOW_S, until, STEP_S, headers, call)
    except (Unavailable, ValueError) as error:
        raise Unavailable(f"`value`: {error}") from error
    series = _matrix("value", answer)
    if len(series) > 1:
        raise Unavailable(f"`value` gives {len(series)} series: make it one, with avg(…), max(…) or sum(…)")
    samples = next((one.samples for one in series.values()), ())
    return Values(samples, answer.warnings)


def _counts(
    client: Client, query: PrometheusQuery, version: str, headers: Mapping[str, str], call: Call
) -> Counts:
    # Events first: then the window of `total` begins no earlier, and no series can seem to start inside it.
    events, warnings = _samples(client, "events", query.events, version, headers, call)
    total, more = _samples(client, "total", query.total, version, headers, call)
    return Counts(
        events=_from_zero(events, total),
        total={labels: series.samples for labels, series in total.items()},
        warnings=(*warnings, *more),
    )


def _headers(provider: Provider) -> dict[str, str]:
    if provider.bearer_file is None:
        return {}
    try:
        token = provider.bearer_file.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"its bearer file could not be read ({type(error).__name__})") from error
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True, slots=True)
class _Series:
    target: tuple[str, str]
    samples: Samples


def _samples(
    client: Client, field_name: str, selector: str, version: str, headers: Mapping[str, str], call: Call
) -> tuple[dict[str, _Series], tuple[str, ...]]:
    """The raw samples of every series that the selector matches, by its labels, and Prometheus' warnings."""
    try:
        promql = f"{for_version(selector.strip(), version)}[{WINDOW_S}s]"
        answer = client.query(promql, headers, call)
    except (Unavailable, ValueError) as error:
        raise Unavailable(f"`{field_name}`: {error}") from error
    if answer.result_type != "matrix":
        raise Unavailable(
            f"`{field_name}` gives a {answer.result_type}: write a plain selector of a counter, "
            'such as errors_total{version="{{version}}"}'
        )
    return _matrix(field_name, answer), answer.warnings


def _matrix(field_name: str, answer: Answer) -> dict[str, _Series]:
    if not isinstance(answer.result, list):
        raise Unavailable(f"`{field_name}`: its answer is not a list of series")
    if len(answer.result) > SERIES_MAX:
        raise Unavailable(
            f"`{field_name}` matches {len(answer.result):,} series, more than {SERIES_MAX}: narrow it down"
        )
    found = {}
    for series in answer.result:
        try:
            labels = {str(name): str(value) for name, value in series["metric"].items()}
            samples = tuple((float(at), float(value)) for at, value in series["values"])
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise Unavailable(f"`{field_name}`: a series is not one of plain numbers") from error
        found[_named(labels)] = _Series((labels.get("job", ""), labels.get("instance", "")), samples)
    return found


def _named(labels: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value!r}" for name, value in sorted(labels.items()))


def _from_zero(events: Mapping[str, _Series], total: Mapping[str, _Series]) -> dict[str, Samples]:
    """The events' samples; a series that appeared while its target was scraped already started from zero.

    Many libraries export a labelled counter only after its first event; without this that event would be lost.
    """
    scraped: dict[tuple[str, str], list[float]] = {}
    for series in total.values():
        scraped.setdefault(series.target, []).extend(at for at, _ in series.samples)
    started = {}
    for labels, series in events.items():
        if not series.samples:
            continue
        first = series.samples[0][0]
        before = [at for at in scraped.get(series.target, []) if at < first] if any(series.target) else []
        started[labels] = ((max(before), 0.0), *series.samples) if before else series.samples
    return started
