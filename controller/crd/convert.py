"""From what users write to what the core thinks with: pure, total on documents that `parse` accepted."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from controller.core import checks as core_checks
from controller.core import effects
from controller.core import spec as core
from controller.crd import models
from controller.crd.revisions import Revision, revision_of
from controller.crd.schedules import schedule_of
from controller.crd.stages import Placed, checks_of, gates, names_at, placed
from controller.crd.warmups import warmup_of
from headgate.wire import plan

INFERENCE_PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "v2": ("/v2/models/*/infer",),
    "v1": ("/v1/models/*:predict",),
    "json": (),
    "auto": (),
}
"""Counted paths by protocol where the user names none; `*` also matches `/versions/…`; empty counts every path."""


def version_identity(version: models.Version, base_dir: str = "") -> str:
    """The hash of what serves: command, environment, address, readiness, digest, rewrite, folder; never the name,
    nor what is only looked at (`deployment`).

    Fields at their default are left out, so that writing a default, or a later release adding a field, renames
    no version.
    """
    parts = version.model_dump(
        mode="json",
        by_alias=True,
        exclude={"name": True, "deployment": True, "process": {"stop_grace"}},
        exclude_defaults=True,
    )
    if version.process is not None and base_dir:
        parts["baseDir"] = base_dir
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def identities(rollout: models.ModelRollout) -> dict[str, str]:
    """Each version's identity by its name."""
    base_dir = rollout.metadata.annotations.get(models.BASE_DIR, "")
    return {version.name: version_identity(version, base_dir) for version in rollout.spec.versions}


def revision(
    rollout: models.ModelRollout, tracked: Mapping[str, Mapping[str, Any]] | None = None
) -> Revision | None:
    """The version that the rollout's pod template means now (see `revision_of`); None if it has no template."""
    spec = rollout.spec
    if spec.template is None or spec.port is None:
        return None
    written = spec.template.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return revision_of(rollout.metadata.name, written, spec.port, tracked or {})


def _versions(
    rollout: models.ModelRollout, revisions: Sequence[Revision]
) -> tuple[tuple[core.VersionSpec, ...], str]:
    """The versions there are, and the name of the one that is the target."""
    spec = rollout.spec
    if spec.workload_ref is not None and not revisions:
        unread = core.VersionSpec(spec.workload_ref.name[:63], "")  # what it means, only a cluster can say
        return (unread,), unread.name
    if spec.template is None and spec.workload_ref is None:
        names = identities(rollout)
        return tuple(_version(version, names[version.name]) for version in spec.versions), spec.target or ""
    now = revision(rollout)
    known = revisions or ((now,) if now is not None else ())
    return tuple(core.VersionSpec(one.name, one.identity) for one in known), known[0].name


def spec_of(rollout: models.ModelRollout, generation: int, revisions: Sequence[Revision] = ()) -> core.Spec:
    """The rollout as the core thinks of it. The rules must have found no fault (see `parse`).

    `revisions` are the versions of a rollout with a pod template, the present one first; without them it alone.
    """
    spec = rollout.spec
    versions, target = _versions(rollout, revisions)
    return core.Spec(
        key=rollout.key,
        generation=generation,
        target=target,
        versions=versions,
        stages=_stages(spec),
        initial_stable=spec.initial_stable,
        checks=tuple(_check(check) for check in checks_of(spec)),
        policy=_policy(spec.decision),
        capacity=core.Capacity(
            replicas=spec.replicas,
            max_surge=spec.capacity.max_surge,
            scale_with_weight=spec.capacity.scale_with_weight,
            min_replicas=spec.capacity.min_replicas,
            drain_s=spec.capacity.drain,
            keep_stable_warm_s=spec.capacity.keep_stable_warm,
            progress_deadline_s=spec.capacity.progress_deadline,
        ),
        warmup=warmup_of(spec.warmup),
        traffic=_traffic(spec),
        rollback_window=core.RollbackWindow(spec.rollback_window.versions, spec.rollback_window.within),
        supersede=core.Supersede(spec.schedule.supersede),
        schedule=schedule_of(spec.schedule),
        hooks=tuple(_hook(hook) for hook in spec.hooks),
        notifications=tuple(effects.Notification(told.to, tuple(told.on)) for told in spec.notifications),
        paused=spec.paused,
    )


def _version(version: models.Version, identity: str) -> core.VersionSpec:
    rewrite = version.rewrite
    return core.VersionSpec(
        name=version.name,
        identity=identity,
        base_path="" if version.url is None else urlsplit(version.url).path.rstrip("/"),
        rewrite=None if rewrite is None else plan.Rewrite(path=rewrite.path, body=dict(rewrite.body)),
    )


def _stages(spec: models.RolloutSpec) -> tuple[core.Stage, ...]:
    checks = checks_of(spec)
    return tuple(stage for at in placed(spec.strategy) for stage in _stage(at, checks))


def _stage(at: Placed, checks: list[models.Check]) -> tuple[core.Stage, ...]:
    first, *rest = [names_at(gate, checks) for gate in gates((at,))] or [()]
    match at.stage:
        case models.Shadow() as stage:
            return (
                core.ShadowStage(
                    sample_ppm=stage.sample,
                    duration_s=stage.duration,
                    min_pairs=stage.min_pairs,
                    checks=first,
                    advance=core.Advance(stage.advance),
                    max_stay_s=stage.max_stay,
                    to=tuple(stage.to or ()),
                ),
            )
        case models.Canary() as stage:
            return _canary(stage, first)
        case models.Match() as stage:
            return (_match(stage, first),)
        case models.Approval() as stage:
            return (
                core.ApprovalStage(
                    roles=tuple(stage.roles or ()),
                    quorum=stage.quorum,
                    expires_s=stage.expires,
                    on_expire=core.OnExpire(stage.on_expire or "hold"),
                ),
            )
        case models.PauseStage() as stage:
            return (core.PauseStage(duration_s=stage.duration),)
        case models.Flip() as stage:
            return (
                core.FlipStage(
                    preview_ppm=stage.preview,
                    before=first,
                    bake_s=stage.bake,
                    after=rest[0],
                    max_stay_s=stage.max_stay,
                ),
            )
        case models.Full() as stage:
            return (core.FullStage(bake_s=stage.bake, checks=first, max_stay_s=stage.max_stay),)


def _match(stage: models.Match, checks: tuple[str, ...]) -> core.MatchStage:
    asked = [(f"header:{one.name.lower()}", one) for one in stage.headers or ()]
    asked += [(f"cookie:{one.name}", one) for one in stage.cookies or ()]
    conditions = tuple(plan.Condition(source, one.exact, one.prefix) for source, one in asked)
    return core.MatchStage(
        match=core.Match(conditions, stage.share),
        duration_s=stage.duration,
        checks=checks,
        advance=core.Advance(stage.advance),
        max_stay_s=stage.max_stay,
        to=tuple(stage.to or ()),
    )


def _canary(stage: models.Canary, checks: tuple[str, ...]) -> tuple[core.Stage, ...]:
    """One stage for `weights` and the automatic ramp; for `steps`, whose times differ, one for each run of equal times."""
    to = tuple(stage.to or ())
    if stage.ramp is not None:
        return (
            core.CanaryStage(
                weights=core.AUTO_WEIGHTS,
                every_s=core.AUTO_EVERY_S,
                checks=checks,
                max_stay_s=stage.max_stay,
                risk_budget=stage.risk_budget,
                to=to,
            ),
        )
    every = 60.0 if stage.every is None else stage.every
    runs: list[tuple[float, list[int]]] = [(every, list(stage.weights))] if stage.weights else []
    for step in stage.steps or ():
        if runs and runs[-1][0] == step.every:
            runs[-1][1].append(step.weight)
        else:
            runs.append((step.every, [step.weight]))
    advance = core.Advance(stage.advance or "unlessFail")
    return tuple(
        core.CanaryStage(
            weights=tuple(weights),
            every_s=time_s,
            checks=checks,
            advance=advance,
            max_stay_s=stage.max_stay,
            to=to,
        )
        for time_s, weights in runs
    )


def _check(check: models.Check) -> core_checks.Check:
    query = None if check.prometheus is None else _query(check.prometheus)
    return core_checks.Check(
        name=check.name,
        metric=_metric(check, query),
        limit=_limit(check),
        min_requests=check.min_requests,
        alpha_weight=check.weight,
        required=check.required,
        dry_run=check.dry_run,
        per_slice=check.per_slice,
        query=query,
    )


def _metric(check: models.Check, query: core_checks.Query | None) -> core_checks.Metric:
    if isinstance(query, core_checks.GaugeQuery):
        return core_checks.Metric.GAUGE
    return core_checks.Metric(check.metric or "prometheus")


def _query(written: models.Prometheus) -> core_checks.Query:
    if written.value is not None:
        return core_checks.GaugeQuery(written.provider, written.value)
    return core_checks.PrometheusQuery(written.provider, written.events or "", written.total or "")


def _limit(check: models.Check) -> core_checks.Limit:
    """`ratio` alone keeps the default `plus` (else no finite evidence proves zero errors); `plus` alone means ratio 1."""
    if check.max is not None:
        return core_checks.AtMost(check.max)
    if check.within is not None:
        failures = check.failures or models.Failures()
        return core_checks.Within(check.within.min, check.within.max, failures.of, failures.at)
    against = check.no_worse_than or models.NoWorseThan()
    if against.slower is not None:
        return core_checks.NoSlower(quantile=quantile(check.quantile), slower=against.slower)
    default = core_checks.NoWorse()
    ratio = against.ratio if against.ratio is not None else 1.0
    return core_checks.NoWorse(ratio=ratio, plus=default.plus if against.plus is None else against.plus)


def quantile(written: str | None) -> float:
    """`p99` as 0.99, which is also the default."""
    return 0.99 if written is None else round(float(written.removeprefix("p")) / 100, 8)


def _policy(decision: models.Decision) -> core.DecisionPolicy:
    guard = decision.guard
    return core.DecisionPolicy(
        alpha=decision.alpha,
        on_inconclusive=core.OnInconclusive(decision.on_inconclusive),
        on_no_data=core.OnInconclusive(decision.on_no_data),
        no_data_timeout_s=decision.no_data_timeout,
        max_duration_s=decision.max_duration,
        world_drift=core.WorldDrift(decision.world_drift),
        guard=None
        if guard is None
        else plan.Guard(
            error_ratio=guard.errors,
            times=guard.times,
            at_least=guard.at_least,
            window_ms=guard.window,
            alone_error_ratio=guard.alone_errors,
        ),
    )


def _traffic(spec: models.RolloutSpec) -> core.TrafficPolicy:
    identity = spec.identity
    sources = () if identity is None else (identity.key, *identity.fallback)
    paths = spec.inference_paths
    return core.TrafficPolicy(
        identity=plan.IdentityKey(sources),
        overrides=_overrides(spec),
        limits=_limits(spec.limits),
        capture=_capture(spec.capture),
        comparison=_comparison(spec),
        counted_paths=INFERENCE_PATHS[spec.protocol] if paths is None else tuple(paths),
    )


def _hook(hook: models.Hook) -> effects.Hook:
    return effects.Hook(
        name=hook.name,
        at=effects.HookAt(hook.at),
        url=hook.url,
        timeout_s=hook.timeout,
        retries=hook.retries,
        on_fail=effects.OnFail(hook.on_fail or "hold"),
    )


def _overrides(spec: models.RolloutSpec) -> plan.Overrides | None:
    if spec.overrides is None:
        return None
    names = [version.name for version in spec.versions]
    allow = names if spec.overrides.allow is None else spec.overrides.allow
    return plan.Overrides(header=spec.overrides.header.lower(), allow=tuple(allow))


def _limits(limits: models.Limits) -> plan.Limits:
    return plan.Limits(
        header_timeout_ms=limits.header_timeout,
        connect_timeout_ms=limits.connect_timeout,
        first_byte_timeout_ms=limits.first_byte_timeout,
        body_idle_timeout_ms=limits.body_idle_timeout,
        request_timeout_ms=limits.request_timeout,
        client_idle_timeout_ms=limits.client_idle_timeout,
        drain_ms=limits.drain,
        header_bytes_max=limits.max_header_bytes,
        connections_per_endpoint_max=limits.max_connections_per_endpoint,
        requests_per_version_max=limits.max_requests_per_version,
        slow_start_ms=limits.slow_start,
    )


def _capture(capture: models.Capture) -> plan.Capture:
    return plan.Capture(
        store=capture.store,
        keep_disagreements=capture.keep.disagreements,
        keep_agreements=capture.keep.agreements,
        redact=tuple(plan.RedactRule(path=rule.path, how=rule.how) for rule in capture.redact),
        body_bytes_max=capture.max_body_bytes,
        records_bytes_max=capture.max_records_bytes,
    )


def _comparison(spec: models.RolloutSpec) -> plan.Comparison:
    tolerance = spec.compare.tolerance
    low, high = spec.compare.bands.boundary
    return plan.Comparison(
        protocol=spec.protocol,
        task=spec.task.type,
        label=spec.task.label,
        scores=spec.task.scores,
        relative_tolerance=tolerance.rel,
        absolute_tolerance=tolerance.abs,
        relative_delta_max=spec.compare.max_relative_delta,
        boundary=(low, high),
        ignore=tuple(tolerance.fields),
    )


def version_documents(
    rollout: models.ModelRollout, document: Mapping[str, Any], revisions: Sequence[Revision] = ()
) -> dict[str, dict[str, Any]]:
    """Each version as the user wrote it, by identity, plus `baseDir` where the document has one: for `Workloads`."""
    if rollout.spec.template is not None or rollout.spec.workload_ref is not None:
        now = revision(rollout)
        return {one.identity: one.document() for one in revisions or ((now,) if now is not None else ())}
    names = identities(rollout)
    base_dir = rollout.metadata.annotations.get(models.BASE_DIR)
    extra = {} if base_dir is None else {"baseDir": base_dir}
    return {names[version["name"]]: {**version, **extra} for version in document["spec"]["versions"]}
