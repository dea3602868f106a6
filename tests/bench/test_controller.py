"""The arithmetic of the controller's benchmark, and its simulated routers against the real registry of the API."""

import math

import pytest

from bench.controller.fleet import Router
from bench.controller.latency import worst
from bench.controller.objects import by_service, by_url, rollout
from bench.controller.scale import percentile, since
from bench.controller.scene import is_healthy
from controller.crd import Parsed, parse
from controller.crd.places import Place
from headgate.wire.codec import decode_telemetry, encode

BUCKETS = {0.01: 50.0, 0.1: 90.0, 1.0: 100.0, math.inf: 100.0}


def test_a_percentile_lies_within_its_bucket() -> None:
    assert percentile(BUCKETS, 0.5) == pytest.approx(0.01)
    assert percentile(BUCKETS, 0.7) == pytest.approx(0.055)
    assert percentile(BUCKETS, 0.99) == pytest.approx(0.91)


def test_what_is_beyond_the_last_bound_is_called_no_less_than_it() -> None:
    assert percentile({1.0: 1.0, math.inf: 100.0}, 0.99) == 1.0


def test_counts_are_those_of_the_time_between() -> None:
    assert since({0.1: 1.0}, {0.1: 3.0, math.inf: 4.0}) == {0.1: 2.0, math.inf: 4.0}


def test_the_worst_of_few_is_the_largest_and_of_a_hundred_the_last_but_one() -> None:
    assert worst([3.0, 1.0, 2.0]) == 3.0
    assert worst([float(n) for n in range(1, 101)]) == 99.0


@pytest.mark.parametrize("version", [by_service("v1", "fraud-v1"), by_url("v1", 8080)])
def test_its_rollouts_are_accepted(version: dict[str, object]) -> None:
    document = rollout("r00001", [version, {**by_service("v2", "fraud-v2")}])
    document["metadata"]["namespace"] = "many"
    assert isinstance(parse(document, place=Place.CLUSTER), Parsed)


def test_its_routers_send_reports_that_the_controller_reads() -> None:
    report = Router("many/r00001").report()
    assert decode_telemetry(encode(report)) == report


def test_healthy_is_what_is_said_of_the_present_spec() -> None:
    one = {"metadata": {"generation": 2}, "status": {"phase": "Healthy", "observedGeneration": 1}}
    assert not is_healthy(one)
    one["status"]["observedGeneration"] = 2
    assert is_healthy(one)
    assert not is_healthy({"metadata": {"generation": 1}})
