"""The agent end to end: a real process between a small real controller and workers that keep their contract."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from headgate.histogram import BUCKETS
from headgate.wire.codec import encode
from headgate.wire.plan import Condition, Match, PlanVersion, Shadow, SlotRange
from headgate.wire.telemetry import GuardTrip, ShadowCounters
from router.agent import planfile
from router.agent.plans import assigned
from router.core.channel import RUN_FILES
from router.core.counters import (
    FAILED,
    IN_FLIGHT,
    LATENCY,
    MATCHED,
    PICKED,
    QUEUE_FULL,
    REQUESTS,
    SELECTED,
    SERVING,
    STARTING,
    STATUS_2XX,
    column_start,
    drop_cell,
)
from router.core.guard import TRIPS_BYTES, write_trip
from tests.router.agent.bench import Bench


def test_a_plan_reaches_the_worker_the_disk_and_is_acknowledged(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan(share=500)
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan), "the poll says what is applied")
    assert worker.assignment.plan == controller.plan
    kept = planfile.load(agent.run)
    assert kept is not None
    assert kept.plan == controller.plan
    assert sorted(kept.columns) == ["id-1", "id-2"]


def test_a_poll_says_who_asks_with_the_token_and_the_wire_versions_it_reads(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    agent.follow(controller)
    poll = bench.until(lambda: controller.polls, "a poll came")[0]
    assert (poll["router"], poll["applied"], poll["wait"]) == ("r1", "0.0.0", "30")
    assert (poll["header x-headgate-wire"], poll["header authorization"]) == ("1", "Bearer s3cret")


def test_a_new_plan_is_acknowledged_although_a_poll_hangs(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    for generation in range(2, 6):
        controller.plan = bench.plan(1, generation, share=generation)
        bench.until(lambda: controller.acknowledged(controller.plan), f"generation {generation}")
    assert len(controller.polls) < 40


def test_nothing_is_acknowledged_before_every_live_worker_runs_it(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent(workers=2)
    controller.plan = bench.plan()
    quick, late = bench.worker(agent.run, 0), bench.worker(agent.run, 1, is_deaf=True)
    agent.follow(controller)
    bench.until(lambda: quick.assignment is not None, "one worker runs it")
    bench.until(lambda: len(controller.polls) >= 3, "the agent polled after its patience")
    assert not controller.acknowledged(controller.plan)
    late.is_deaf = False
    bench.until(lambda: controller.acknowledged(controller.plan), "both run it")


def test_a_worker_that_starts_holds_back_new_acknowledgements_only(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent(workers=2)
    first = controller.plan = bench.plan()
    workers = [bench.worker(agent.run, index) for index in range(2)]
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(first))
    workers[1].is_deaf = True
    workers[1].become(STARTING)
    second = controller.plan = bench.plan(1, 2)
    bench.until(lambda: workers[0].assignment.plan == second)
    known = len(controller.polls)
    bench.until(lambda: len(controller.polls) > known + 1)
    assert {poll["applied"] for poll in controller.polls[known:]} == {str(first.triple)}
    workers[1].is_deaf = False
    workers[1].become(SERVING)
    bench.until(lambda: controller.acknowledged(second))


def test_a_dead_worker_holds_back_nothing(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent(workers=2)
    controller.plan = bench.plan()
    bench.worker(agent.run, 0)
    dead = bench.worker(agent.run, 1, is_deaf=True)
    dead.block.begin(_pid_of_nobody(), 1)
    dead.become(SERVING)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))


def test_without_any_live_worker_nothing_is_acknowledged(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    agent.follow(controller)
    bench.until(lambda: len(controller.polls) >= 4)
    assert {poll["applied"] for poll in controller.polls} == {"0.0.0"}
    assert (agent.run / RUN_FILES.plan).exists()


@pytest.mark.parametrize(
    ("offered", "why"),
    [
        ({"epoch": 4, "generation": 9}, "epoch: 4 is older than 5"),
        ({"epoch": 5, "generation": 6}, "generation: 5.6.0 is older than 5.7.0"),
        ({"epoch": 5, "generation": 7, "share": 10}, "5.7.0 is in force with other content"),
        ({"epoch": 5, "generation": 8, "rollout": "ml/other"}, "the plan is for ml/other"),
        ({"epoch": 5, "generation": 8, "stable": "v9"}, "stable: v9 is not among versions"),
    ],
)
def test_a_plan_that_may_not_be_run_is_refused_reported_and_changes_nothing(
    bench: Bench, offered: dict[str, Any], why: str
) -> None:
    controller, agent = bench.controller(), bench.agent()
    good = controller.plan = bench.plan(5, 7)
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(good))
    controller.raw = encode(bench.plan(**offered))
    poll = bench.until(
        lambda: next((p for p in controller.polls if "error" in p), None), "the refusal is said"
    )
    assert why in poll["error"]
    assert poll["applied"] == str(good.triple)
    assert worker.assignment.plan == good
    assert planfile.load(agent.run).plan == good
    controller.raw, controller.plan = None, bench.plan(5, 8)
    bench.until(lambda: controller.acknowledged(controller.plan), "a good plan ends it")
    assert "error" not in controller.polls[-1]


def test_a_refused_plan_that_is_offered_again_and_again_is_not_asked_for_in_a_tight_loop(
    bench: Bench,
) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.raw = b'{"wire": 1, "rollout": 7}'
    agent.follow(controller)
    bench.until(lambda: len(controller.polls) >= 5)
    polls = [poll["error"] for poll in controller.polls if "error" in poll]
    assert "rollout" in polls[0]
    assert agent.log().count("plan refused") == 1


def test_a_controller_that_lets_nobody_wait_is_not_asked_in_a_tight_loop(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.answer_status = 304
    agent.follow(controller)
    bench.until(lambda: controller.polls)
    begun = time.monotonic()
    bench.until(lambda: len(controller.polls) >= 4)
    assert time.monotonic() - begun > 0.1
    controller.answer_status, controller.plan = None, bench.plan()
    bench.worker(agent.run)
    bench.until(lambda: controller.acknowledged(controller.plan))


def test_what_a_worker_refuses_is_reported_with_its_name(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    worker = bench.worker(agent.run, refuses="salt: not mine")
    agent.follow(controller)
    poll = bench.until(lambda: next((p for p in controller.polls if "error" in p), None))
    assert (poll["applied"], poll["error"]) == ("0.0.0", "worker 0: salt: not mine")
    worker.refuses = ""
    controller.plan = bench.plan(1, 2)
    bench.until(lambda: controller.acknowledged(controller.plan))


def test_a_refusal_is_about_one_plan_and_not_said_of_the_next(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    bench.observer(agent.run).say(error="comparison.label: none")
    bench.until(lambda: controller.polls[-1].get("error") == "observer: comparison.label: none")
    controller.plan = bench.plan(1, 2)
    bench.until(lambda: controller.acknowledged(controller.plan))
    bench.until(lambda: "error" not in controller.polls[-1])


def test_a_restarted_agent_asks_nobody_and_still_says_what_is_applied(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    plan = controller.plan = bench.plan(3, 4, 5)
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(plan))
    controller.close()
    agent.kill()
    agent.start()
    bench.until(lambda: agent.ask("/readyz")[0] == 200)
    assert agent.get("/v1/plan")["applied"] == "3.4.5"
    again = bench.controller(controller.port)
    again.plan = plan
    bench.until(lambda: again.polls)
    assert again.polls[0]["applied"] == "3.4.5"
    assert worker.assignment.plan == plan


def test_an_agent_that_died_before_it_kept_a_plan_gets_it_again_although_the_workers_run_it(
    bench: Bench,
) -> None:
    controller, agent = bench.controller(), bench.agent()
    old, new = bench.plan(), bench.plan(1, 2)
    planfile.save(agent.run, assigned(old, {}))
    controller.plan = new
    worker = bench.worker(agent.run)
    worker.block.write_applied(new.triple)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(new))
    assert controller.polls[0]["applied"] == str(old.triple)
    assert planfile.load(agent.run).plan == new


def test_a_plan_that_cannot_be_kept_is_in_force_and_kept_when_that_is_possible_again(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.polls)
    (agent.run / RUN_FILES.plan).mkdir()
    controller.plan = bench.plan()
    bench.until(lambda: controller.acknowledged(controller.plan))
    assert "plan not kept on disk" in agent.log()
    (agent.run / RUN_FILES.plan).rmdir()
    bench.until((agent.run / RUN_FILES.plan).is_file)
    assert planfile.load(agent.run).plan == controller.plan


def test_a_controller_that_was_away_is_found_again_and_each_change_is_said_once(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.telemetry)
    controller.close()
    bench.until(lambda: "state=dropped" in agent.log())
    bench.until(lambda: "controller unreachable, serving on" in agent.log())
    again = bench.controller(controller.port)
    again.plan = bench.plan(1, 2)
    bench.until(lambda: again.acknowledged(again.plan))
    bench.until(lambda: again.telemetry)
    assert agent.log().count("state=dropped") == 1


@pytest.mark.parametrize(("status", "said"), [(401, "token is not accepted"), (403, "may not do this")])
def test_a_refused_token_is_said_and_the_plan_stays(bench: Bench, status: int, said: str) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    controller.answer_status = status
    bench.until(lambda: said in agent.log())
    assert agent.get("/v1/plan")["applied"] == "1.1.0"
    assert agent.ask("/readyz")[0] == 200
    assert "s3cret" not in agent.log()


def test_a_404_keeps_the_last_plan(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    controller.answer_status = 404
    bench.until(lambda: "the last one stays in force" in agent.log())
    assert agent.get("/v1/plan")["applied"] == "1.1.0"


def test_the_leaders_address_is_followed_on_an_allowed_host_only(bench: Bench) -> None:
    follower, leader, agent = bench.controller(), bench.controller(), bench.agent()
    leader.plan = bench.plan()
    bench.worker(agent.run)
    follower.answer_status, follower.location = 421, "http://evil.example/v1/routes/ml/fraud"
    agent.follow(follower)
    bench.until(lambda: "evil.example" in agent.log())
    assert "not allowed" in agent.log()
    follower.location = leader.url
    bench.until(lambda: leader.acknowledged(leader.plan))
    bench.until(lambda: leader.telemetry, "telemetry goes to the leader too")


def test_of_several_controllers_the_one_that_leads_is_found_and_its_follower_too(bench: Bench) -> None:
    waits, leads, agent = bench.controller(), bench.controller(), bench.agent()
    waits.answer_status = 421
    leads.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(waits, "--controller", leads.url)
    bench.until(lambda: leads.acknowledged(leads.plan))
    bench.until(lambda: leads.telemetry, "telemetry goes to the leader too")
    leads.close()
    waits.plan, waits.answer_status = bench.plan(2, 1), None
    bench.until(lambda: waits.acknowledged(waits.plan))
    bench.until(lambda: waits.telemetry, "telemetry follows")


def test_a_leader_that_is_not_there_any_more_is_looked_for_at_the_other_addresses(bench: Bench) -> None:
    gone, stale, leads, agent = bench.controller(), bench.controller(), bench.controller(), bench.agent()
    gone.close()
    stale.answer_status, stale.location = 421, gone.url
    leads.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(stale, "--controller", leads.url)
    bench.until(lambda: leads.acknowledged(leads.plan))


def test_controllers_of_which_none_leads_are_asked_in_turn_until_one_does(bench: Bench) -> None:
    first, second, agent = bench.controller(), bench.controller(), bench.agent()
    for one in (first, second):
        one.answer_status = 421
    bench.worker(agent.run)
    agent.follow(first, "--controller", second.url)
    bench.until(lambda: len(second.polls) >= 4)
    assert len(first.polls) <= len(second.polls) + 1
    assert agent.log().count("does not lead") <= len(second.polls)
    second.plan, second.answer_status = bench.plan(), None
    bench.until(lambda: second.acknowledged(second.plan))


def test_telemetry_carries_the_counts_of_all_workers_trips_and_the_pin(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent(workers=2)
    controller.plan = bench.plan(share=100)
    workers = [bench.worker(agent.run, index) for index in range(2)]
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    for worker in workers:
        start = column_start(worker.assignment.columns["id-2"])
        worker.block.cells[start + PICKED + REQUESTS] = 7
        worker.block.cells[start + IN_FLIGHT] = 2
    trips = bytearray(TRIPS_BYTES)
    trip = GuardTrip(
        version="v2",
        identity="id-2",
        attempt=1,
        at=5.0,
        failed=30,
        requests=40,
        stable_failed=0,
        stable_requests=90,
    )
    write_trip(memoryview(trips), trip)
    (agent.run / RUN_FILES.trips).write_bytes(trips)
    (agent.run / RUN_FILES.pin).write_text("v1")
    report = bench.until(lambda: next((one for one in controller.telemetry if one.pinned), None))
    counted = {one.version: one for one in report.versions}
    assert (counted["v2"].picked.requests, counted["v2"].in_flight) == (14, 4)
    assert counted["v1"].picked.requests == 0
    assert report.trips == (trip,)
    assert [(one.index, one.pid, one.applied) for one in report.workers] == [
        (0, os.getpid(), "1.1.0"),
        (1, os.getpid(), "1.1.0"),
    ]
    assert (report.router, report.rollout, report.applied) == ("r1", "ml/fraud", "1.1.0")
    assert report.boot == agent.directory.boot


def _with_shadow(bench: Bench) -> Any:
    versions = (PlanVersion("v1", "id-1", "stable"), PlanVersion("v3", "id-3", "candidate"))
    return bench.plan(versions=versions, shadows=(Shadow("v3", 1_000_000),))


def test_shadow_counters_are_the_observers_with_the_workers_drops_added(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = _with_shadow(bench)
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    columns = worker.assignment.columns
    cell = column_start(columns["id-1"]) + drop_cell(columns["id-3"], QUEUE_FULL)
    worker.block.cells[cell] = 4
    first = bench.until(
        lambda: [one for one in controller.telemetry if one.shadows and one.shadows[0].dropped]
    )[0]
    assert (first.shadows[0].offered, first.shadows[0].dropped) == (4, {"queue_full": 4})
    pair = {"shadow": "v3", "shadow_identity": "id-3", "live": "v1", "live_identity": "id-1"}
    bench.observer(agent.run).say(ShadowCounters(**pair, offered=10, pairs=9, dropped={"timeout": 1}))
    later = bench.until(
        lambda: [one for one in controller.telemetry if one.shadows and one.shadows[0].pairs]
    )[0]
    assert (later.shadows[0].offered, later.shadows[0].pairs) == (14, 9)
    assert later.shadows[0].dropped == {"queue_full": 4, "timeout": 1}


@pytest.mark.parametrize(("is_of_this_life", "pairs"), [(True, 5), (False, 0)])
def test_while_the_observer_is_away_its_last_counters_of_this_life_are_read_from_disk(
    bench: Bench, is_of_this_life: bool, pairs: int
) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = _with_shadow(bench)
    bench.worker(agent.run)
    shadow = {"shadow": "v3", "shadowIdentity": "id-3", "live": "v1", "liveIdentity": "id-1", "pairs": 5}
    boot = agent.directory.boot if is_of_this_life else "another"
    kept = {"boot": boot, "at": 1.0, "rollout": "ml/fraud", "shadows": [shadow]}
    (agent.run / RUN_FILES.shadows).write_text(json.dumps(kept))
    agent.follow(controller)
    report = bench.until(lambda: next((one for one in controller.telemetry if one.shadows), None))
    assert report.shadows[0].pairs == pairs


def test_the_last_report_is_sent_at_sigterm(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    start = column_start(worker.assignment.columns["id-1"])
    worker.block.cells[start + PICKED + REQUESTS] = 99
    assert agent.stop() == 0
    assert controller.telemetry[-1].versions[0].picked.requests == 99


def test_a_plan_file_is_read_again_at_sighup_and_a_bad_one_changes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    agent, file = bench.agent(), tmp_path / "plan.json"
    file.write_bytes(encode(bench.plan()))
    planfile.save(agent.run, assigned(bench.plan(), {}))
    worker = bench.worker(agent.run)
    agent.start("--plan", str(file))
    bench.until(lambda: worker.assignment is not None)
    bench.until(lambda: agent.ask("/readyz")[0] == 200)
    file.write_bytes(encode(bench.plan(1, 2, share=500)))
    agent.process.send_signal(signal.SIGHUP)
    bench.until(lambda: worker.assignment.plan.generation == 2)
    file.write_text("{")
    agent.process.send_signal(signal.SIGHUP)
    bench.until(lambda: "plan refused" in agent.log())
    assert agent.get("/v1/plan")["plan"]["generation"] == 2


def test_health_is_always_ready_only_with_a_plan_and_a_worker(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    agent.follow(controller)
    assert agent.ask("/healthz")[0] == 200
    assert agent.refusal("/readyz") == (503, "no plan is in force yet")
    controller.plan = bench.plan()
    bench.until(lambda: agent.refusal("/readyz") == (503, "no worker lives"))
    bench.worker(agent.run)
    bench.until(lambda: agent.ask("/readyz")[0] == 200)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_request_that_did_not_mean_this_machine_is_refused(bench: Bench, host: str) -> None:
    agent = bench.agent().follow(bench.controller())
    assert agent.ask("/healthz", host)[0] in (400, 421)
    for name in ("localhost", "127.0.0.1:1", "[::1]:1"):
        assert agent.ask("/healthz", name)[0] == 200


def test_metrics_carry_counts_buckets_and_every_drop_reason(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = _with_shadow(bench)
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    start = column_start(worker.assignment.columns["id-1"]) + PICKED
    worker.block.cells[start + REQUESTS] = worker.block.cells[start + STATUS_2XX] = 3
    for bucket in (0, 60, BUCKETS - 1):
        worker.block.cells[start + LATENCY + bucket] = 1
    status, text = agent.ask("/metrics")
    assert status == 200
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    own = 'rollout="ml/fraud",version="v1"'
    assert lines[f'headgate_router_requests_total{{class="2xx",{own}}}'] == "3.0"
    assert lines[f'headgate_router_requests_total{{class="5xx",{own}}}'] == "0.0"
    buckets = [
        float(value)
        for name, value in lines.items()
        if name.startswith("headgate_router_request_seconds_bucket") and own in name
    ]
    assert buckets[0] == 1.0
    assert buckets[-1] == 3.0
    assert buckets == sorted(buckets)
    assert lines[f"headgate_router_request_seconds_count{{{own}}}"] == "3.0"
    dropped = [name for name in lines if name.startswith("headgate_router_shadow_dropped_total")]
    assert len(dropped) == 11
    assert lines['headgate_router_plan_info{rollout="ml/fraud",stable="v1",stage=""}'] == "1.0"
    assert lines['headgate_router_applied_generation{rollout="ml/fraud"}'] == "1.0"


def test_matched_and_selected_requests_are_shown_apart(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    half = (SlotRange(0, 5_000, "v1"), SlotRange(5_000, 10_000, "v2"))
    controller.plan = bench.plan(match=Match((Condition("header:x-a"),), half))
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    bench.until(lambda: agent.get("/v1/stats")["versions"])
    start = column_start(worker.assignment.columns["id-2"])
    for group, requests in ((PICKED, 1), (MATCHED, 20), (SELECTED, 300)):
        worker.block.cells[start + group + REQUESTS] = requests
        worker.block.cells[start + group + STATUS_2XX] = requests
    worker.block.cells[start + MATCHED + FAILED] = 5
    lines = bench.until(
        lambda: (
            (found := dict(line.rsplit(" ", 1) for line in agent.ask("/metrics")[1].splitlines()))
            and found.get(
                'headgate_router_matched_requests_total{class="2xx",rollout="ml/fraud",version="v2"}'
            )
            == "20.0"
            and found
        )
    )
    own = 'rollout="ml/fraud",version="v2"'
    assert lines[f'headgate_router_requests_total{{class="2xx",{own}}}'] == "1.0"
    assert lines[f'headgate_router_selected_requests_total{{class="2xx",{own}}}'] == "300.0"
    assert lines[f"headgate_router_match_weight_ratio{{{own}}}"] == "0.5"
    assert lines[f"headgate_router_weight_ratio{{{own}}}"] == "0.0"
    row = bench.until(
        lambda: (
            (found := agent.get("/v1/stats?window=60s")["versions"]["v2"])["matched"]["failed"] == 5 and found
        )
    )
    assert row["requests"] == 1
    assert (row["matched"]["requests"], row["matched"]["failed"], row["matched"]["failed_ratio"]) == (
        20,
        5,
        0.25,
    )
    assert (row["matched"]["by_class"]["status_2xx"], row["selected"]["requests"]) == (20, 300)
    said = bench.until(
        lambda: next(
            (one for one in controller.telemetry if any(v.matched.requests for v in one.versions)), None
        )
    )
    assert [one.matched.requests for one in said.versions] == [0, 20]


def test_stats_are_of_the_window_alone_and_a_bad_window_is_refused(bench: Bench) -> None:
    controller, agent = bench.controller(), bench.agent()
    controller.plan = bench.plan()
    worker = bench.worker(agent.run)
    agent.follow(controller)
    bench.until(lambda: controller.acknowledged(controller.plan))
    bench.until(lambda: agent.get("/v1/stats")["versions"])
    start = column_start(worker.assignment.columns["id-1"]) + PICKED
    worker.block.cells[start + REQUESTS] = 5
    worker.block.cells[start + LATENCY + 50] = 5
    row = bench.until(
        lambda: (found := agent.get("/v1/stats?window=60s")["versions"]["v1"])["requests"] == 5 and found
    )
    assert row["failed_ratio"] == 0.0
    assert 0 < row["latency_seconds"]["p50"] <= row["latency_seconds"]["p99"]
    bench.until(lambda: agent.get("/v1/stats?window=1s")["versions"]["v1"]["requests"] == 0)
    status, what = agent.refusal("/v1/stats?window=1h")
    assert status == 422
    assert "such as 60s" in what


def _pid_of_nobody() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
