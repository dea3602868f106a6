"""Each fault, met by kubectl and by a plain client, before the real API server: what the client sees, what happened."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.faults.proxy.kube import WRITES
from tests.faults.proxy.proxy import FaultProxy
from tests.faults.proxy.rules import (
    Answer,
    Blackhole,
    Delay,
    DelayEvents,
    DropEvents,
    DuplicateEvents,
    Gone,
    KillAfter,
    KillBefore,
    Reset,
    Rule,
    Stale,
    Stall,
    Truncate,
    conflicts_on_every_second_write,
)

BROKEN = (httpx.ReadError, httpx.RemoteProtocolError)


class Through:
    """A client whose requests for ConfigMaps of one namespace go through the proxy, and one that goes directly."""

    def __init__(self, cluster: Testbed, proxy: FaultProxy, namespace: str) -> None:
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"
        self.client = cluster.client(server=proxy.url)
        self.direct = cluster.client()

    def create(self, name: str) -> httpx.Response:
        return self.client.post(self.path, json={"metadata": {"name": name}})

    def exists(self, name: str) -> bool:
        return self.direct.get(f"{self.path}/{name}").status_code == 200

    def create_directly(self, *names: str) -> None:
        for name in names:
            self.direct.post(self.path, json={"metadata": {"name": name}}).raise_for_status()

    @contextmanager
    def watch(self, timeout_s: float = 60.0) -> Iterator["Watch"]:
        """A watch from now on, through the proxy."""
        version = self.direct.get(self.path).json()["metadata"]["resourceVersion"]
        params = {"watch": "1", "resourceVersion": version}
        with self.client.stream("GET", self.path, params=params, timeout=timeout_s) as answer:
            yield Watch(answer)


class Watch:
    """The events of a watch, as `TYPE name`."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> str:
        event = json.loads(next(self._lines))
        return f"{event['type']} {event['object'].get('code') or event['object']['metadata']['name']}"


@pytest.fixture
def through(cluster: Testbed, fault_proxy: FaultProxy, namespace: str) -> Through:
    return Through(cluster, fault_proxy, namespace)


# Without faults.


def test_without_rules_kubectl_works_as_ever_and_everything_is_on_record(
    cluster: Testbed, fault_proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    def kubectl(*words: str, stdin: Mapping[str, Any] | None = None) -> str:
        return cluster.kubectl("-n", namespace, *words, server=fault_proxy.url, stdin=stdin).stdout

    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "b"}}
    kubectl("create", "-f", "-", stdin=one)
    kubectl("label", "configmap", "one", "x=y")
    assert kubectl("get", "configmaps", "-o", "jsonpath={.items[?(@.metadata.name=='one')].data.a}") == "b"
    kubectl("delete", "configmap", "one")
    ours = [one for one in fault_proxy.record() if one.resource == "configmaps"]
    assert [(one.verb, one.name, one.status) for one in ours if one.write] == [
        ("create", "", 201),
        ("patch", "one", 200),
        ("delete", "one", 200),
    ]
    assert {one.namespace for one in ours} == {namespace}
    assert {one.agent.split("/")[0] for one in ours} == {"kubectl"}
    assert all(one.forwarded and not one.fault for one in ours), ours
    assert ours[0].body["data"] == {"a": "b"}
    assert [one.verb for one in fault_proxy.writes()] == ["create", "patch", "delete"]
    fault_proxy.save(tmp_path / "record.jsonl")
    saved = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert [one["number"] for one in saved] == list(range(1, len(saved) + 1))


def test_the_api_server_sees_the_person_not_the_proxy(cluster: Testbed, fault_proxy: FaultProxy) -> None:
    refused = cluster.kubectl("get", "configmaps", user="alice", server=fault_proxy.url, check=False)
    assert 'User "alice" cannot list resource "configmaps"' in refused.stderr
    assert fault_proxy.record()[-1].status == 403


def test_an_untouched_watch_is_passed_on(through: Through, fault_proxy: FaultProxy) -> None:
    with through.watch() as watch:
        through.create_directly("one", "two")
        assert [watch.next(), watch.next()] == ["ADDED one", "ADDED two"]
    assert [(one.verb, one.status, one.events) for one in fault_proxy.record()] == [("watch", 200, 2)]


def test_a_large_answer_arrives_whole(through: Through) -> None:
    big = "x" * 700_000
    for name in ("big-1", "big-2"):
        body = {"metadata": {"name": name}, "data": {"key": big}}
        assert through.client.post(through.path, json=body).status_code == 201
    listed = through.client.get(through.path).json()["items"]
    assert [item["data"]["key"] == big for item in listed if item["metadata"]["name"].startswith("big")] == [
        True
    ] * 2


# Faults of requests.


def test_delay_holds_the_request(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(Delay(1.0), verbs=("create",))):
        started = time.monotonic()
        assert through.create("late").status_code == 201
        assert time.monotonic() - started >= 1.0
    wait_for(lambda: fault_proxy.record()[-1].seconds >= 1.0, "the time it took is on record")
    assert fault_proxy.record()[-1].fault == "Delay"


def test_reset_breaks_the_connection_and_nothing_is_done(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(Reset(), verbs=WRITES, nth=1)) as active:
        with pytest.raises(BROKEN):
            through.create("never")
        assert through.create("second").status_code == 201
    assert (active.matched, active.applied) == (2, 1)
    assert not through.exists("never")
    assert fault_proxy.record()[0].forwarded is False


@pytest.mark.parametrize("forwards", [False, True])
def test_a_blackhole_never_answers_whether_or_not_it_is_done(
    cluster: Testbed, fault_proxy: FaultProxy, through: Through, forwards: bool
) -> None:
    impatient = cluster.client(server=fault_proxy.url, timeout_s=2.0)
    with fault_proxy.during(Rule(Blackhole(forwards), verbs=("create",))), pytest.raises(httpx.ReadTimeout):
        impatient.post(through.path, json={"metadata": {"name": "silent"}})
    assert through.exists("silent") is forwards
    assert fault_proxy.record()[0].forwarded is forwards


@pytest.mark.parametrize(
    ("code", "reason"), [(429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable")]
)
def test_a_status_is_answered_as_the_api_server_would(
    through: Through, fault_proxy: FaultProxy, code: int, reason: str
) -> None:
    with fault_proxy.during(Rule(Answer(code, "enough", retry_after_s=7), verbs=("create",))):
        answer = through.create("refused")
    body = answer.json()
    assert answer.status_code == body["code"] == code
    assert (body["kind"], body["reason"], body["message"]) == ("Status", reason, "enough")
    assert answer.headers["retry-after"] == "7"
    assert not through.exists("refused")


def test_kubectl_understands_an_injected_status(
    cluster: Testbed, fault_proxy: FaultProxy, namespace: str
) -> None:
    with fault_proxy.during(Rule(Answer(500, "the disk is on fire"), resources=("configmaps",))):
        listing = ("-n", namespace, "get", "configmaps")
        refused = cluster.kubectl(*listing, server=fault_proxy.url, check=False)
    assert "the disk is on fire" in refused.stderr


def test_every_second_write_conflicts_and_reads_do_not(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(conflicts_on_every_second_write()):
        statuses = []
        for number in range(4):
            statuses.append(through.create(f"c-{number}").status_code)
            assert through.client.get(through.path).status_code == 200
    assert statuses == [201, 409, 201, 409]
    assert [through.exists(f"c-{number}") for number in range(4)] == [True, False, True, False]
    assert [one.body["metadata"]["name"] for one in fault_proxy.writes()] == ["c-0", "c-2"]


def test_a_truncated_answer_ends_in_the_middle_although_the_write_is_done(
    through: Through, fault_proxy: FaultProxy
) -> None:
    with (
        fault_proxy.during(Rule(Truncate(10), verbs=("create",))),
        pytest.raises(BROKEN, match=r"incomplete|closed"),
    ):
        through.create("cut")
    assert through.exists("cut")


def test_stale_reads_are_those_of_the_rules_beginning(through: Through, fault_proxy: FaultProxy) -> None:
    def names() -> list[str]:
        items = through.client.get(through.path).json()["items"]
        return [item["metadata"]["name"] for item in items if item["metadata"]["name"] != "kube-root-ca.crt"]

    through.create("before")
    with fault_proxy.during(Rule(Stale(), resources=("configmaps",))):
        assert names() == ["before"]
        through.create("since")
        assert names() == ["before"]
        assert through.client.get(f"{through.path}/since").status_code == 200
    assert names() == ["before", "since"]


# Kills.

WRITER = """
import json, ssl, sys, urllib.request
url, ca, token = sys.argv[1:]
request = urllib.request.Request(url, json.dumps({"metadata": {"name": "written"}}).encode(), method="POST",
    headers={"Authorization": "Bearer " + token, "Content-Type": "application/json"})
input()
urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ca), timeout=60).read()
print("answered", flush=True)
"""


@pytest.mark.parametrize("after", [False, True])
def test_a_client_is_killed_before_its_write_reached_the_server_or_before_it_hears_of_it(
    cluster: Testbed, fault_proxy: FaultProxy, through: Through, after: bool
) -> None:
    command = [sys.executable, "-c", WRITER, fault_proxy.url + through.path]
    command += [str(cluster.authority.certificate), cluster.token()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:

        def kill() -> None:
            os.kill(writer.pid, signal.SIGKILL)

        fault = KillAfter(kill) if after else KillBefore(kill)
        with fault_proxy.during(Rule(fault, verbs=WRITES, nth=1)) as active:
            said, _ = writer.communicate("\n", timeout=90)
    assert writer.returncode == -signal.SIGKILL
    assert said == ""
    assert active.applied == 1
    assert through.exists("written") is after
    assert [(one.fault, one.status) for one in fault_proxy.record()] == [
        (type(fault).__name__, 201 if after else 0)
    ]


def test_a_hook_that_fails_fails_the_test(cluster: Testbed, through: Through) -> None:
    def hook() -> None:
        raise LookupError("nobody to kill")

    def meet_it() -> None:
        pair = cluster.authority.issue("another-proxy")
        with FaultProxy(cluster.url, cluster.authority.certificate, pair) as another:
            another.add(Rule(KillBefore(hook), verbs=WRITES))
            with pytest.raises(BROKEN):
                cluster.client(server=another.url).post(through.path, json={"metadata": {"name": "x"}})

    with pytest.raises(LookupError, match="nobody to kill"):
        meet_it()


# Faults of watches.


def test_an_event_is_dropped(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(DropEvents(), types=("ADDED",), nth=2)), through.watch() as watch:
        through.create_directly("one", "two", "three")
        assert [watch.next(), watch.next()] == ["ADDED one", "ADDED three"]


def test_a_rule_for_events_also_meets_a_watch_that_is_under_way(
    through: Through, fault_proxy: FaultProxy
) -> None:
    with through.watch() as watch:
        through.create_directly("one")
        assert watch.next() == "ADDED one"
        with fault_proxy.during(Rule(DropEvents(), resources=("configmaps",))) as active:
            through.create_directly("two")
            wait_for(lambda: active.applied == 1, "the event is dropped")
        through.create_directly("three")
        assert watch.next() == "ADDED three"


def test_an_event_is_duplicated(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(DuplicateEvents(), nth=1)), through.watch() as watch:
        through.create_directly("one", "two")
        assert [watch.next() for _ in range(3)] == ["ADDED one", "ADDED one", "ADDED two"]


def test_an_event_is_delayed_and_so_are_those_behind_it(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(DelayEvents(1.5), nth=1)), through.watch() as watch:
        started = time.monotonic()
        through.create_directly("one", "two")
        assert [watch.next(), watch.next()] == ["ADDED one", "ADDED two"]
        assert time.monotonic() - started >= 1.5


def test_a_stalled_watch_stays_open_and_silent(through: Through, fault_proxy: FaultProxy) -> None:
    rule = Rule(Stall(), types=("ADDED",), nth=2)
    with fault_proxy.during(rule) as active, through.watch(timeout_s=2.0) as watch:
        through.create_directly("one", "two", "three")
        assert watch.next() == "ADDED one"
        with pytest.raises(httpx.ReadTimeout):
            watch.next()
        assert active.applied == 1


def test_a_watch_is_told_410_in_its_stream(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(Gone(), times=1)), through.watch() as watch:
        assert watch.next() == "ERROR 410"
        with pytest.raises(StopIteration):
            watch.next()
    with through.watch() as watch:
        through.create_directly("one")
        assert watch.next() == "ADDED one"


def test_a_watch_is_answered_410(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(Gone(in_stream=False))):
        answer = through.client.get(through.path, params={"watch": "1"})
        assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
        assert through.client.get(through.path).status_code == 200


def test_a_watch_is_truncated_within_an_event(through: Through, fault_proxy: FaultProxy) -> None:
    with fault_proxy.during(Rule(Truncate(20), verbs=("watch",))), through.watch() as watch:
        through.create_directly("one")
        with pytest.raises((*BROKEN, json.JSONDecodeError)):
            watch.next()


# Faults of the whole connection.


def test_frozen_nothing_passes_and_thawed_it_does(
    cluster: Testbed, fault_proxy: FaultProxy, through: Through
) -> None:
    with through.watch() as watch:
        fault_proxy.freeze()
        through.create_directly("one")
        with pytest.raises(httpx.ReadTimeout):
            cluster.client(server=fault_proxy.url, timeout_s=1.0).get(through.path)
        passed: list[str] = []
        reading = threading.Thread(target=lambda: passed.append(watch.next()))
        reading.start()
        reading.join(1.0)
        assert passed == []
        fault_proxy.thaw()
        reading.join(60.0)
        assert passed == ["ADDED one"]


def test_cut_breaks_watches_under_way_and_the_next_request_works(
    through: Through, fault_proxy: FaultProxy
) -> None:
    with through.watch() as watch:
        fault_proxy.cut()
        with pytest.raises(BROKEN):
            watch.next()
    assert through.create("after").status_code == 201


def test_with_the_api_server_away_the_client_sees_broken_connections(
    tmp_path: Path, cluster: Testbed
) -> None:
    with Testbed(temp=tmp_path) as own:
        pair = own.authority.issue("fault-proxy")
        with FaultProxy(own.url, own.authority.certificate, pair) as proxy:
            client = own.client(server=proxy.url)
            assert client.get("/readyz").text == "ok"
            own.stop_apiserver(kill=True)
            with pytest.raises(BROKEN):
                client.get("/readyz")
            own.start_apiserver()
            assert client.get("/readyz").text == "ok"


def test_a_proxy_ends_with_watches_and_blackholes_open(
    cluster: Testbed, fault_proxy: FaultProxy, through: Through
) -> None:
    ended: list[Any] = []

    def ask() -> None:
        try:
            through.create("held")
        except BROKEN as exc:
            ended.append(exc)

    pair = cluster.authority.issue("another-proxy")
    with FaultProxy(cluster.url, cluster.authority.certificate, pair) as another:
        through.client = cluster.client(server=another.url)
        active = another.add(Rule(Blackhole(), verbs=("create",)))
        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: active.applied == 1, "the request is held")
    asking.join(60.0)
    assert len(ended) == 1
