"""A real Prometheus as the only source of evidence: what is good passes, what is bad fails, what cannot be seen holds."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.adapters.prometheus.counters import PrometheusCounters
from controller.core.analysis.inputs import Arms, Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH, decode_state, encode_state
from controller.core.checks import Check, CheckResult, Lack, Metric, NoWorse, Verdict
from controller.core.status import VersionRef
from tests.controller.adapters.prometheus.servers import QUERY, Exporter, exporter, patient, prometheus

pytestmark = [pytest.mark.needs("prometheus"), pytest.mark.timeout(300)]

CHECK = Check("redo", Metric.PROMETHEUS, NoWorse(1.2, 0.05), min_requests=50, query=QUERY)
ROLES = Roles(VersionRef("v8", "hash-8"), 1, VersionRef("v7", "hash-7"))


@contextmanager
def traffic(source: Exporter, candidate_failed: int) -> Iterator[None]:
    """Each tenth of a second 20 requests to either version; of stable's none fails, of the candidate's so many."""
    stopped = threading.Event()
    values = source.values
    for version in ("v7", "v8"):
        values[f'requests_total{{version="{version}"}}'] = values[f'errors_total{{version="{version}"}}'] = 0

    def run() -> None:
        while not stopped.wait(0.1):
            for version in ("v7", "v8"):
                values[f'requests_total{{version="{version}"}}'] += 20
            values['errors_total{version="v8"}'] += candidate_failed

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class Watch:
    """Asks and judges again and again, its state stored and read back each time, as the controller does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.state = encode_state(FRESH)
        self.acknowledged_at = time.time()

    def until(self, *wanted: tuple[Verdict, Lack]) -> CheckResult:
        return asyncio.run(self._until(wanted))

    async def _until(self, wanted: tuple[tuple[Verdict, Lack], ...]) -> CheckResult:
        counters = PrometheusCounters({"main": patient(self.url)})
        ends_at = time.monotonic() + 200
        try:
            while True:
                result = await self._look(counters)
                if (result.verdict, result.lack) in wanted:
                    return result
                assert time.monotonic() < ends_at, result
                await asyncio.sleep(0.5)
        finally:
            await counters.close()

    async def _look(self, counters: PrometheusCounters) -> CheckResult:
        candidate, stable = await asyncio.gather(counters.counts(QUERY, "v8"), counters.counts(QUERY, "v7"))
        state, (result,) = judge(
            (CHECK,),
            ("redo",),
            ROLES,
            decode_state(self.state),
            Inputs(counts={"redo": Arms(candidate, stable)}),
            StepContext(0, 1, self.acknowledged_at),
            0.01,
            time.time(),
        )
        self.state = encode_state(state)
        return result


PASSED, FAILED = (Verdict.PASS, Lack.NONE), (Verdict.FAIL, Lack.NONE)
NO_DATA = (Verdict.INCONCLUSIVE, Lack.NO_DATA)


def test_a_healthy_candidate_passes_and_holds_again_once_prometheus_is_gone(tmp_path: Path) -> None:
    with exporter() as source, traffic(source, candidate_failed=0):
        with prometheus(tmp_path, [source.address]) as url:
            watch = Watch(url)
            passed = watch.until(PASSED, FAILED)
            assert passed.verdict is Verdict.PASS
            assert passed.is_fresh
        held = watch.until(NO_DATA, FAILED)
    assert held.lack is Lack.NO_DATA
    assert "connection refused" in held.text


def test_a_bad_candidate_fails_with_its_numbers(tmp_path: Path) -> None:
    with (
        exporter() as source,
        traffic(source, candidate_failed=5),
        prometheus(tmp_path, [source.address]) as url,
    ):
        failed = Watch(url).until(PASSED, FAILED)
    assert failed.verdict is Verdict.FAIL
    assert failed.estimate == pytest.approx(0.25, abs=0.03)
    assert failed.reference == 0


def test_an_exporter_that_dies_holds_after_the_freshness_bound(tmp_path: Path) -> None:
    with exporter() as source, prometheus(tmp_path, [source.address]) as url:
        with traffic(source, candidate_failed=0):
            watch = Watch(url)
            watch.until(PASSED)
        source.values.clear()
        held = watch.until(NO_DATA, FAILED)
    assert "s old, more than" in held.text
