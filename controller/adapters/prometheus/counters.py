"""The `Counters` port over Prometheus: whatever happens there, an answer within a bounded time.

Each counter is asked for as a range of raw samples (`selector[300s]`): the samples come with the times at which
they were scraped, so a dead exporter cannot pass for a quiet one, as it can for five minutes with an instant value;
and what a restarted controller missed is still in it. A gauge is any expression; it is asked for at the same points in
time whenever it is asked, so that no point counts twice.

Each provider has threads of its own, so that a slow one delays nobody else's queries. Credentials and certificates are
files that are read again when they change, and never said.
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from controller.adapters.prometheus.credentials import Stamp, certificates, credentials
from controller.adapters.prometheus.promql import for_version
from controller.adapters.prometheus.session import Answer, Call, Client, Unavailable, one_line
from controller.core.analysis.inputs import Counts, Measurement, Missing, Samples, Values
from controller.core.checks import GaugeQuery, PrometheusQuery, Query
from controller.crd.providers import Provider

WINDOW_S: Final = 300
STEP_S: Final = 15
TURN_S: Final = 60.0
"""Who would wait longer for a turn is told that too much is asked."""

SERIES_MAX: Final = 500


@dataclass(slots=True)
class _Asked:
    """A provider with threads and connections of its own: another provider's slowness cannot take them.

    `idle` connections are of the files with that `stamp`. `free_at`: when the next query may begin, on the loop's clock.
    """

    name: str
    provider: Provider
    pool: ThreadPoolExecutor
    idle: list[Client] = field(default_factory=list)
    stamp: Stamp = ()
    free_at: float = 0.0


class PrometheusCounters:
    """What configured Prometheus servers know, by their names in specs. Every answer comes within the provider's
    `timeout` and, before that, at most `TURN_S` of waiting for its turn."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._asked = {
            name: _Asked(
                name, provider, ThreadPoolExecutor(provider.limits.concurrency, f"prometheus-{name}")
            )
            for name, provider in providers.items()
        }

    async def counts(self, query: Query, version: str) -> Measurement:
        """What was measured of this version in the last minutes; Missing says why there is nothing."""
        asked = self._asked.get(query.provider)
        if asked is None:
            known = ", ".join(sorted(self._asked)) or "none"
            return Missing(
                f"{query.provider!r} is no metric provider of this controller (configured: {known})"
            )
        limits, loop = asked.provider.limits, asyncio.get_running_loop()
        turn_s = max(asked.free_at - loop.time(), 0.0)
        if turn_s > TURN_S:
            return Missing(
                f"prometheus {asked.name!r}: more is asked than its limit of {limits.per_second:g} a second"
            )
        asked.free_at = loop.time() + turn_s + 1 / limits.per_second
        await asyncio.sleep(turn_s)
        call = Call(limits.timeout)
        work = loop.run_in_executor(asked.pool, _ask, asked, query, version, call)
        try:
            async with asyncio.timeout(
                limits.timeout
            ):  # wait_for swallows a cancellation that meets the answer
                return await work
        except TimeoutError:
            return Missing(f"prometheus {asked.name!r}: it did not answer within {limits.timeout:g} s")
        finally:
            call.abort()

    async def close(self) -> None:
        """Ends every thread; nothing may be asked any more."""
        for asked in self._asked.values():
            await asyncio.to_thread(asked.pool.shutdown, wait=True, cancel_futures=True)
            for client in asked.idle:
                client.close()


def _ask(asked: _Asked, query: Query, version: str, call: Call) -> Measurement:
    """The answer, in a thread of the provider."""
    name, client = f"prometheus {asked.name!r}", None
    try:
        client, stamp = _client(asked)
        headers = credentials(asked.provider)
        if isinstance(query, GaugeQuery):
            found: Measurement = _values(client, query, version, headers, call)
        else:
            found = _counts(client, query, version, headers, call)
    except (Unavailable, ValueError) as error:
        if client is not None:
            client.close()
        return Missing(one_line(f"{name}: {error}"))
    if stamp == asked.stamp:
        asked.idle.append(client)
    else:
        client.close()
    return found


def _client(asked: _Asked) -> tuple[Client, Stamp]:
    """A connection that was made with the certificates as they are now, and what those are."""
    stamp = certificates(asked.provider)
    if stamp != asked.stamp:
        asked.stamp = stamp
        while asked.idle:
            asked.idle.pop().close()
    try:
        return asked.idle.pop(), stamp
    except IndexError:  # another thread was quicker, or there is none
        return Client(asked.provider), stamp


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
