"""One small and one full example of every message of wire version 1, as the golden files hold them.

The files are what a release wrote: they are added to, never changed. So what a message learns later has an example of
its own, beside the full one of before. `python -m tests.contract.wire.examples NAME`
prints the file of one example, for the release that adds a message.
"""

import sys

import msgspec

from headgate.wire.plan import (
    Capture,
    Comparison,
    Condition,
    Endpoint,
    Guard,
    IdentityKey,
    Limits,
    Match,
    Overrides,
    PlanVersion,
    RedactRule,
    Rewrite,
    RoutePlan,
    Shadow,
    SlotRange,
)
from headgate.wire.record import ComparisonRecord, Side
from headgate.wire.telemetry import (
    GuardTrip,
    Outcomes,
    ShadowCounters,
    SliceCounters,
    Telemetry,
    VersionCounters,
    Worker,
)

PLAN_SMALL = RoutePlan(
    rollout="default/fraud",
    epoch=1,
    generation=1,
    salt="pepper",
    stable="v7",
    versions=(PlanVersion("v7", "sha-7", "stable", (Endpoint("127.0.0.1", 8080),)),),
    slots=(SlotRange(0, 10_000, "v7"),),
)

PLAN_FULL = RoutePlan(
    rollout="ml/fraud",
    epoch=3,
    generation=41,
    endpoints_revision=7,
    because="v8 failed check errors",
    stage="canary 2/4",
    salt="pepper",
    stable="v7",
    versions=(
        PlanVersion("v7", "sha-7", "stable", (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.2", 8080))),
        PlanVersion(
            "v8",
            "sha-8",
            "candidate",
            (Endpoint("models.example", 443, tls=True),),
            base_path="/fraud8",
            attempt=2,
            rewrite=Rewrite(path="/v2/models/fraud8/infer", body={"/model": "fraud-8", "/parameters/top": 3}),
        ),
        PlanVersion("v6", "sha-6", "retired"),
    ),
    slots=(SlotRange(0, 500, "v8"), SlotRange(500, 10_000, "v7")),
    shadows=(Shadow("v8", 250_000, timeout_ms=2_000, concurrency_max=16),),
    identity=IdentityKey(("header:x-user-id", "cookie:sid", "query:user")),
    overrides=Overrides("x-headgate-version", ("v8",)),
    guard=Guard(error_ratio=0.1, times=5.0, at_least=10, window_ms=5_000, alone_error_ratio=0.4),
    limits=Limits(
        header_timeout_ms=5_000,
        connect_timeout_ms=500,
        first_byte_timeout_ms=10_000,
        body_idle_timeout_ms=10_000,
        request_timeout_ms=20_000,
        client_idle_timeout_ms=30_000,
        drain_ms=10_000,
        header_bytes_max=32_768,
        connections_per_endpoint_max=64,
        requests_per_version_max=2_000,
        slow_start_ms=5_000,
    ),
    capture=Capture(
        store="redacted",
        keep_disagreements=500_000,
        keep_agreements=20_000,
        redact=(RedactRule("/ssn", "drop"), RedactRule("/inputs/*/email", "hash")),
        body_bytes_max=1_048_576,
        records_bytes_max=10_485_760,
    ),
    comparison=Comparison(
        protocol="v2",
        task="classification",
        label="label",
        scores="scores",
        relative_tolerance=1e-4,
        absolute_tolerance=1e-6,
        relative_delta_max=0.1,
        boundary=(0.45, 0.55),
        ignore=("/ts", "/rows/*/id"),
    ),
    counted_paths=("/v2/models/*/infer",),
)

PLAN_MATCH = RoutePlan(
    rollout="ml/fraud",
    epoch=3,
    generation=42,
    salt="pepper",
    stable="v7",
    versions=(
        PlanVersion("v7", "sha-7", "stable", (Endpoint("10.0.0.1", 8080),)),
        PlanVersion("v8", "sha-8", "candidate", (Endpoint("10.0.0.2", 8080),)),
    ),
    slots=(SlotRange(0, 10_000, "v7"),),
    match=Match(
        conditions=(
            Condition("header:x-country", exact="DE"),
            Condition("cookie:sid", prefix="beta-"),
            Condition("header:x-tester"),
        ),
        slots=(SlotRange(0, 5_000, "v7"), SlotRange(5_000, 10_000, "v8")),
    ),
)

TELEMETRY_SMALL = Telemetry(
    rollout="default/fraud",
    router="r-1",
    boot="b-1",
    started_at=1_700_000_000.0,
    at=1_700_000_001.0,
    applied="1.1.0",
)

TELEMETRY_FULL = Telemetry(
    rollout="ml/fraud",
    router="sidecar-7f",
    boot="3b1c",
    started_at=1_700_000_000.25,
    at=1_700_000_060.5,
    applied="3.41.7",
    error="generation: 40 is older than 41, which is in force",
    pinned="v7",
    versions=(
        VersionCounters(
            version="v8",
            identity="sha-8",
            attempt=2,
            picked=Outcomes(
                requests=100,
                failed=7,
                status_2xx=90,
                status_3xx=1,
                status_4xx=2,
                status_5xx=3,
                no_connection=1,
                broken=1,
                timeout=2,
                client_closed=4,
                latency=(0, 0, 5, 85, 3),
            ),
            selected=Outcomes(requests=2, status_2xx=2, latency=(0, 2)),
            half=Outcomes(requests=48, failed=3, status_2xx=45, status_5xx=3, latency=(0, 45)),
            other=9,
            saved_by_stable=4,
            retries=1,
            ejections=1,
            bytes_in=12_345,
            bytes_out=2**40,
            in_flight=3,
            in_flight_ages=(3, 2, 1, 0, 0, 0, 0, 0, 0),
        ),
    ),
    shadows=(
        ShadowCounters(
            shadow="v8",
            shadow_identity="sha-8",
            live="v7",
            live_identity="sha-7",
            offered=1_000,
            pairs=950,
            disagreements=19,
            soft=5,
            both_failed=2,
            shadow_failed=30,
            live_failed=8,
            self_pairs=20,
            self_disagreements=1,
            dropped={"timeout": 10, "shadow_error": 20, "live_error": 10, "undecodable": 10},
            slices={"class=fraud": SliceCounters(100, 15), "class=ok": SliceCounters(850, 4)},
            directions={"fraud->ok": 15, "ok->fraud": 4},
            live_latency=(0, 950),
            shadow_latency=(0, 900, 50),
        ),
    ),
    trips=(
        GuardTrip(
            version="v8",
            identity="sha-8",
            attempt=2,
            at=1_700_000_050.0,
            failed=30,
            requests=60,
            stable_failed=1,
            stable_requests=600,
        ),
    ),
    workers=(Worker(index=0, pid=4242, started_at=1_700_000_000.5, applied="3.41.7"),),
)

TELEMETRY_MATCH = Telemetry(
    rollout="ml/fraud",
    router="sidecar-7f",
    boot="3b1c",
    started_at=1_700_000_000.25,
    at=1_700_000_061.5,
    applied="3.42.0",
    versions=(
        VersionCounters(
            version="v8",
            identity="sha-8",
            matched=Outcomes(requests=12, failed=1, status_2xx=11, timeout=1, latency=(0, 11)),
        ),
    ),
)

RECORD_SMALL = ComparisonRecord(
    at=1_700_000_000.0,
    rollout="default/fraud",
    live=Side(version="v7", status=200, latency_ms=4.0),
    shadow=Side(version="v8", status=0, latency_ms=1000.0),
    verdict="shadow_failed",
)

RECORD_FULL = ComparisonRecord(
    at=1_700_000_000.5,
    rollout="ml/fraud",
    stage="shadow",
    generation=41,
    request_id="9f1c",
    protocol="v2",
    task="classification",
    live=Side(
        version="v7",
        identity="sha-7",
        status=200,
        latency_ms=4.25,
        body_bytes=321,
        prediction={"label": [1]},
        confidence=0.97,
    ),
    shadow=Side(
        version="v8",
        identity="sha-8",
        status=200,
        latency_ms=6.5,
        body_bytes=322,
        prediction={"label": [0]},
        confidence=0.6,
    ),
    verdict="soft",
    why="request of 200000 bytes not stored",
    measures={"delta_p_max": 0.57, "jensen_shannon": 0.3},
    paths=("label",),
    direction="1->0",
    slices={"class": "1"},
    request={"inputs": ["***", None, 1.5]},
)

EXAMPLES = {
    "route-plan-small": PLAN_SMALL,
    "route-plan-full": PLAN_FULL,
    "route-plan-match": PLAN_MATCH,
    "telemetry-small": TELEMETRY_SMALL,
    "telemetry-full": TELEMETRY_FULL,
    "telemetry-match": TELEMETRY_MATCH,
    "comparison-record-small": RECORD_SMALL,
    "comparison-record-full": RECORD_FULL,
}


def file_of(name: str) -> bytes:
    """The golden file of one example."""
    return msgspec.json.format(msgspec.json.encode(EXAMPLES[name]), indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(file_of(sys.argv[1]))
