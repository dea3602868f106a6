"""The one table of rules for what spans fields; `lint`, the API and local mode all read it.

Each rule has a name, and finds faults: the field, what is wrong, and what would be right.
"""

import os.path
from collections import Counter
from collections.abc import Iterator
from typing import Final

from controller.core.spec import AUTO_EVERY_S, AUTO_WEIGHTS
from controller.crd import routes, sources, takeovers, warmups
from controller.crd.convert import identities
from controller.crd.faults import FAULTS_MAX, Fault
from controller.crd.forms import with_forms
from controller.crd.models import (
    BASE_DIR,
    Approval,
    Canary,
    Check,
    Flip,
    Full,
    Match,
    ModelRollout,
    PauseStage,
    Prometheus,
    Shadow,
)
from controller.crd.quantities import BasisPoints
from controller.crd.schedules import findings, shuts_for_good
from controller.crd.stages import (
    StageModel,
    cannot_conclude,
    checks_of,
    gates,
    is_default,
    members,
    parts,
    placed,
    short_forms,
)
from controller.crd.table import Finding, Rule

CONDITIONS_MAX: Final = 8
"""What a router asks of a request at most; the bound of the wire."""


def broken(rollout: ModelRollout) -> tuple[Fault, ...]:
    """Every fault of a well-typed rollout by the table; empty for a sound one."""
    found = [Fault(path, rule.name, text) for rule in RULES for path, text in rule.find(rollout)]
    return tuple(found[:FAULTS_MAX])


def _percent(basis_points: int) -> str:
    return f"{basis_points / 100:g}%"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names) if names else "none"


# Versions


_SOURCES: Final = {
    "url": "url",
    "service": "service",
    "inferenceService": "inference_service",
    "process": "process",
}
"""What may serve a version, as it is written, and its field."""


def _one_source(rollout: ModelRollout) -> Iterator[Finding]:
    for index, version in enumerate(rollout.spec.versions):
        path = f"spec.versions[{index}]"
        found = [name for name, field in _SOURCES.items() if getattr(version, field) is not None]
        if not found:
            yield (
                path,
                f"version {version.name} says not what serves it: write service, inferenceService, url or process",
            )
        if len(found) > 1:
            yield path, f"version {version.name} has both {' and '.join(found)}: write one of them"
        if version.deployment is not None and version.service is None:
            yield (
                f"{path}.deployment",
                f"it is looked at for the Service in front of it: write service: {{name: {version.name}, port: 8080}}",
            )


def _readiness_place(rollout: ModelRollout) -> Iterator[Finding]:
    for index, version in enumerate(rollout.spec.versions):
        if version.readiness is None:
            continue
        if version.process is not None:
            yield (
                f"spec.versions[{index}].readiness",
                "readiness of a process is written inside process; here it is for a url",
            )
        if version.service is not None:
            yield (
                f"spec.versions[{index}].readiness",
                "a Service has its pods' readinessProbe: write it in the pod template; here it is for a url",
            )
        if version.inference_service is not None:
            yield (
                f"spec.versions[{index}].readiness",
                "an InferenceService says itself whether it is ready; here it is for a url",
            )


def _unique_names(rollout: ModelRollout) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, version in enumerate(rollout.spec.versions):
        if version.name in seen:
            yield (
                f"spec.versions[{index}].name",
                f"{version.name} is also the name of versions[{seen[version.name]}]: give one of them another name",
            )
        seen.setdefault(version.name, index)


def _unique_identities(rollout: ModelRollout) -> Iterator[Finding]:
    serving: dict[str, str] = {}
    hashes = identities(rollout)
    for index, version in enumerate(rollout.spec.versions):
        other = serving.setdefault(hashes[version.name], version.name)
        if other != version.name:
            yield (
                f"spec.versions[{index}]",
                f"{version.name} serves the very same as {other}, so nothing could tell them apart: "
                "leave one out, or give one a digest of its own",
            )


def _port_placeholder(rollout: ModelRollout) -> Iterator[Finding]:
    for index, version in enumerate(rollout.spec.versions):
        process = version.process
        if process is None:
            continue
        if not any("{port}" in text for text in (*process.command, *process.env.values())):
            yield (
                f"spec.versions[{index}].process.command",
                "it names no {port}: the port is chosen when the process starts; "
                'hand it over in command or env, such as --port, "{port}"',
            )


def _base_dir(rollout: ModelRollout) -> Iterator[Finding]:
    folder = rollout.metadata.annotations.get(BASE_DIR)
    if folder is not None and not os.path.isabs(folder):
        yield f"metadata.annotations[{BASE_DIR}]", f"{folder!r} is not an absolute path"


def _named_versions(rollout: ModelRollout) -> Iterator[Finding]:
    names = [version.name for version in rollout.spec.versions]
    overrides = rollout.spec.overrides
    named: list[tuple[str, str | None]] = []
    if names:
        named = [
            ("spec.target", rollout.spec.target),
            ("spec.initialStable", rollout.spec.initial_stable),
        ]
    for index, name in enumerate(overrides.allow or () if overrides is not None else ()):
        named.append((f"spec.overrides.allow[{index}]", name))
    for at in placed(rollout.spec.strategy):
        for index, name in enumerate(_to(at.stage)):
            named.append((f"{at.path}.to[{index}]", name))
    for path, wanted in named:
        if wanted is not None and wanted not in names:
            yield path, f"{wanted} is not among spec.versions ({_listed(names)}): name one of them, or add it"


# Strategy


def _one_strategy(rollout: ModelRollout) -> Iterator[Finding]:
    forms = short_forms(rollout.spec.strategy)
    if not forms:
        yield "spec.strategy", "it says nothing: write one of canary, blueGreen, shadow, stages"
    elif len(forms) > 1:
        yield (
            "spec.strategy",
            f"{' and '.join(forms)} are both there: write one of them; several in a row are written as stages",
        )


def _one_kind(rollout: ModelRollout) -> Iterator[Finding]:
    for index, stage in enumerate(rollout.spec.strategy.stages or ()):
        kinds = [name for name, _ in members(stage)]
        if len(kinds) != 1:
            said = f"has {' and '.join(kinds)}" if kinds else "says nothing"
            yield (
                f"spec.strategy.stages[{index}]",
                f"a stage is exactly one of shadow, match, canary, approval, pause, flip, full; this one {said}",
            )


def _weights(stage: Canary) -> tuple[tuple[str, int], ...]:
    if stage.weights is not None:
        return tuple((f"weights[{index}]", weight) for index, weight in enumerate(stage.weights))
    return tuple((f"steps[{index}].weight", step.weight) for index, step in enumerate(stage.steps or ()))


def _weights_rise(rollout: ModelRollout) -> Iterator[Finding]:
    last = 0
    for at in placed(rollout.spec.strategy):
        if not isinstance(at.stage, Canary):
            continue
        for place, (field, weight) in enumerate(_weights(at.stage)):
            # A new stage may begin at the weight the one before ended with: other checks, or a pause between.
            if weight < last or (weight == last and place > 0):
                verb = "repeats" if weight == last else "falls to"
                yield (
                    f"{at.path}.{field}",
                    f"{verb} {_percent(weight)} after {_percent(last)}: weights only rise, so that no user moves "
                    "back and forth",
                )
            last = max(last, weight)


def _weights_below_full(rollout: ModelRollout) -> Iterator[Finding]:
    for at in placed(rollout.spec.strategy):
        if isinstance(at.stage, Canary):
            for field, weight in _weights(at.stage):
                if weight >= BasisPoints.parts:
                    yield (
                        f"{at.path}.{field}",
                        "100% leaves stable nothing to compare with: end the weights below it; the stage full follows"
                        + (", here by itself" if rollout.spec.strategy.canary is not None else ""),
                    )


def _canary_form(rollout: ModelRollout) -> Iterator[Finding]:
    for at in placed(rollout.spec.strategy):
        if not isinstance(at.stage, Canary):
            continue
        if sum(form is not None for form in (at.stage.weights, at.stage.steps, at.stage.ramp)) != 1:
            yield (
                at.path,
                "write one of weights: [5%, 25%] with every: 60s, steps: [{weight: 5%, every: 60s}], "
                "or ramp: auto with riskBudget: 0.1%",
            )
        elif (at.stage.ramp is None) != (at.stage.risk_budget is None):
            yield at.path, "ramp: auto and riskBudget: 0.1% go together"
        elif at.stage.ramp is not None and (at.stage.every is not None or at.stage.advance is not None):
            yield at.path, "the automatic ramp has its own time and its own rule: leave every and advance out"
        elif at.stage.steps is not None and at.stage.every is not None:
            yield f"{at.path}.every", "steps have a time of their own: write every in each step"


def _order(rollout: ModelRollout) -> Iterator[Finding]:
    """Traffic only rises through the stages, and the last one ends the rollout."""
    stages = placed(rollout.spec.strategy)
    rank, before = 0, ""
    for at in stages:
        match at.stage:
            case PauseStage() | Approval():
                continue
            case Shadow():
                own, name = 0, "shadow"
            case Match():
                own, name = 1, "match"
            case Canary():
                own, name = 2, "canary"
            case Flip():
                own, name = 3, "flip"
            case Full():
                own, name = 4, "full"
        if own == rank and own >= 3:
            yield at.path, f"a second {name}: all traffic is there already; leave one out"
        elif own < rank:
            yield (
                at.path,
                f"{name} after {before} would take the candidate's traffic back: put it before {before}, "
                "or leave it out",
            )
        rank, before = max(rank, own), name if own >= rank else before


def _ends(rollout: ModelRollout) -> Iterator[Finding]:
    stages = placed(rollout.spec.strategy)
    if rollout.spec.strategy.stages is not None and stages and not isinstance(stages[-1].stage, (Full, Flip)):
        yield (
            f"spec.strategy.stages[{len(rollout.spec.strategy.stages) - 1}]",
            "the rollout would never end: the last stage is full or flip; add - full: {}",
        )


def _pairs_need_copies(rollout: ModelRollout) -> Iterator[Finding]:
    for at in placed(rollout.spec.strategy):
        if not isinstance(at.stage, Shadow) or at.stage.sample > 0:
            continue
        if at.stage.min_pairs > 0:
            yield (
                f"{at.path}.minPairs",
                "with sample 0% no pair is ever compared: raise sample, or leave it out",
            )
        else:
            yield f"{at.path}.sample", "0% copies nothing: raise it, or leave the stage out"


def _time_fits(rollout: ModelRollout) -> Iterator[Finding]:
    total = sum(_least_s(at.stage) for at in placed(rollout.spec.strategy))
    limit = rollout.spec.decision.max_duration
    if total > limit:
        yield (
            "spec.decision.maxDuration",
            f"the stages alone last {total:g}s, longer than maxDuration ({limit:g}s): raise it, or shorten them",
        )


def _to(stage: StageModel) -> list[str]:
    return list(stage.to or ()) if isinstance(stage, (Shadow, Canary, Match)) else []


def _share_fits(rollout: ModelRollout) -> Iterator[Finding]:
    """Each version of `to` gets the stage's share, so together they need that many times as much."""
    for at in placed(rollout.spec.strategy):
        count = parts(_to(at.stage))
        shares = _weights(at.stage) if isinstance(at.stage, Canary) else ()
        if isinstance(at.stage, Match):
            shares = (("share", at.stage.share),)
        if isinstance(at.stage, Canary) and at.stage.ramp is not None and count > 1:
            yield (
                f"{at.path}.to",
                "the automatic ramp is for the target alone: write weights, or leave to out",
            )
        for field, share in shares:
            if count > 1 and share * count > BasisPoints.parts:
                yield (
                    f"{at.path}.{field}",
                    f"{count} versions with {_percent(share)} each are more than all: at most "
                    f"{_percent(BasisPoints.parts // count)}",
                )


def _to_once(rollout: ModelRollout) -> Iterator[Finding]:
    for at in placed(rollout.spec.strategy):
        to = _to(at.stage)
        for index, name in enumerate(to):
            if name in to[:index]:
                yield f"{at.path}.to[{index}]", f"{name} is named twice: leave one out"


def _match_form(rollout: ModelRollout) -> Iterator[Finding]:
    for at in placed(rollout.spec.strategy):
        if not isinstance(at.stage, Match):
            continue
        asked = [(f"headers[{i}]", one) for i, one in enumerate(at.stage.headers or ())]
        asked += [(f"cookies[{i}]", one) for i, one in enumerate(at.stage.cookies or ())]
        if not asked:
            yield at.path, 'it matches everything: write headers: [{name: x-beta, exact: "1"}], or cookies'
        elif len(asked) > CONDITIONS_MAX:
            yield at.path, f"{len(asked)} conditions: at most {CONDITIONS_MAX}, headers and cookies together"
        for field, one in asked:
            if one.exact is not None and one.prefix is not None:
                yield f"{at.path}.{field}", "exact and prefix are both there: write one of them"


def _replicas_fit(rollout: ModelRollout) -> Iterator[Finding]:
    least, most = rollout.spec.capacity.min_replicas, rollout.spec.replicas
    if least > most:
        yield (
            "spec.capacity.minReplicas",
            f"{least} is more than spec.replicas ({most}): lower it, or raise replicas",
        )


def _expiry(rollout: ModelRollout) -> Iterator[Finding]:
    for at in placed(rollout.spec.strategy):
        if isinstance(at.stage, Approval) and at.stage.on_expire is not None and at.stage.expires is None:
            yield f"{at.path}.onExpire", "it never expires: write expires: 4h, or leave onExpire out"


def _least_s(stage: StageModel) -> float:
    match stage:
        case Approval():
            return 0.0
        case Shadow(duration=duration):
            return duration
        case Canary(ramp="auto"):
            return len(AUTO_WEIGHTS) * AUTO_EVERY_S
        case Canary(weights=weights, steps=steps, every=every):
            return sum(step.every for step in steps or ()) + len(weights or ()) * (
                60.0 if every is None else every
            )
        case Match(duration=duration):
            return duration
        case PauseStage(duration=pause):
            return pause or 0.0
        case Flip(bake=bake) | Full(bake=bake):
            return bake


# Checks


def _unique_checks(rollout: ModelRollout) -> Iterator[Finding]:
    counted: Counter[str] = Counter()
    for index, check in enumerate(rollout.spec.checks or ()):
        counted[check.name] += 1
        if counted[check.name] == 2:
            yield f"spec.checks[{index}].name", f"{check.name} is there twice: give one of them another name"


def _check_source(rollout: ModelRollout) -> Iterator[Finding]:
    for path, check in _checks(rollout):
        if (check.metric is None) == (check.prometheus is None):
            yield (
                path,
                f"check {check.name} needs one source: write metric, or prometheus with events and total",
            )
        query = check.prometheus
        if query is not None and not _is_whole(query):
            yield f"{path}.prometheus", "it needs events and total, or value alone"


def _is_whole(query: Prometheus) -> bool:
    if query.value is not None:
        return query.events is None and query.total is None
    return query.events is not None and query.total is not None


def _check_limit(rollout: ModelRollout) -> Iterator[Finding]:
    for path, check in _checks(rollout):
        limits = (check.no_worse_than, check.max, check.within)
        if sum(limit is not None for limit in limits) != 1:
            yield (
                path,
                f"check {check.name} needs one limit: noWorseThan (against stable), max (the candidate alone), "
                "or within (a value)",
            )
        yield from _bounds(path, check)
        against = check.no_worse_than
        if against is not None and against.ratio is None and against.plus is None and against.slower is None:
            yield f"{path}.noWorseThan", "it tolerates nothing: write ratio and plus, or slower for latency"
        elif against is not None and against.plus == 0 and (against.ratio or 1.0) == 1.0:
            yield (
                f"{path}.noWorseThan",
                "no version can be proven so good: even an equal one is only ever shown to be nearly so; "
                "write ratio: 1.2, or plus: 0.02pp",
            )


def _bounds(path: str, check: Check) -> Iterator[Finding]:
    within, failures = check.within, check.failures
    if within is not None and within.min is None and within.max is None:
        yield f"{path}.within", "it bounds nothing: write max, or min, or both"
    if within is not None and within.min is not None and within.max is not None and within.min > within.max:
        yield f"{path}.within", "it is upside down: min must not be above max"
    if failures is not None and failures.at > failures.of:
        yield f"{path}.failures", "so many can never fail: at must not be above of"


def _limit_fits(rollout: ModelRollout) -> Iterator[Finding]:
    for path, check in _checks(rollout):
        against = check.no_worse_than
        is_value = check.prometheus is not None and check.prometheus.value is not None
        if is_value and check.within is None:
            yield path, "a value has no chance to be reckoned with: write within: {max: 0.9}"
        if not is_value and check.within is not None:
            yield f"{path}.within", "it is for prometheus.value: write max or noWorseThan here"
        if check.within is None and check.failures is not None:
            yield f"{path}.failures", "it is for a value: what is counted needs no such rule; leave it out"
        is_latency = check.metric == "requests.latency"
        if is_latency and (check.max is not None or (against is not None and against.slower is None)):
            yield path, "requests.latency is compared with stable's: write noWorseThan: {slower: 10%}"
        if not is_latency and against is not None and against.slower is not None:
            yield f"{path}.noWorseThan.slower", "slower is for requests.latency: write ratio and plus here"
        if is_latency and against is not None and (against.ratio, against.plus) != (None, None):
            yield f"{path}.noWorseThan", "ratio and plus are for shares of requests: write slower alone"
        if check.metric == "shadow.disagreement" and against is not None:
            yield (
                f"{path}.noWorseThan",
                "stable has no disagreement of its own to compare with: write max: 1%",
            )


def _quantile_fits(rollout: ModelRollout) -> Iterator[Finding]:
    for path, check in _checks(rollout):
        if check.quantile is None:
            continue
        if check.metric != "requests.latency":
            yield f"{path}.quantile", "only requests.latency has a quantile: leave it out"
        elif not 50 <= float(check.quantile.removeprefix("p")) <= 99.9:
            yield f"{path}.quantile", f"{check.quantile} is out of bounds: from p50 to p99.9"


def _per_slice(rollout: ModelRollout) -> Iterator[Finding]:
    for path, check in _checks(rollout):
        if check.per_slice and check.metric != "shadow.disagreement":
            yield f"{path}.perSlice", "only shadow.disagreement is counted by slice: leave it out"


def _query_version(rollout: ModelRollout) -> Iterator[Finding]:
    for path, check in _checks(rollout):
        if check.prometheus is None:
            continue
        asked = check.prometheus
        for field, query in (("events", asked.events), ("total", asked.total), ("value", asked.value)):
            if query is not None and "{{version}}" not in query:
                yield (
                    f"{path}.prometheus.{field}",
                    'it does not say which version it counts: put {{version}} into a label, such as version="{{version}}"',
                )


def _checks(rollout: ModelRollout) -> Iterator[tuple[str, Check]]:
    for index, check in enumerate(rollout.spec.checks or ()):
        yield f"spec.checks[{index}]", check


def _known_checks(rollout: ModelRollout) -> Iterator[Finding]:
    known = [check.name for check in checks_of(rollout.spec)]
    for gate in gates(placed(rollout.spec.strategy)):
        for index, name in enumerate(gate.named or ()):
            if name not in known:
                yield f"{gate.path}[{index}]", f"{name} is not among spec.checks ({_listed(known)})"


def _named_once(rollout: ModelRollout) -> Iterator[Finding]:
    for gate in gates(placed(rollout.spec.strategy)):
        for index, name in enumerate(gate.named or ()):
            if name in (gate.named or ())[:index]:
                yield f"{gate.path}[{index}]", f"{name} is named twice: leave one out"


def _can_conclude(rollout: ModelRollout) -> Iterator[Finding]:
    checks = {check.name: check for check in checks_of(rollout.spec)}
    for gate in gates(placed(rollout.spec.strategy)):
        for index, name in enumerate(gate.named or ()):
            why = cannot_conclude(checks[name], gate) if name in checks else None
            if why is not None:
                yield f"{gate.path}[{index}]", f"{name} can never conclude here: {why}"


def _runs_somewhere(rollout: ModelRollout) -> Iterator[Finding]:
    places = tuple(gates(placed(rollout.spec.strategy)))
    for path, check in _checks(rollout):
        if not any(
            check.name in gate.named if gate.named is not None else is_default(check, gate) for gate in places
        ):
            whys = {why for gate in places if (why := cannot_conclude(check, gate)) is not None}
            because = f" ({'; '.join(sorted(whys))})" if whys else ""
            yield path, f"check {check.name} runs in no stage, so it would protect nobody{because}"


# The rest


def _band_order(rollout: ModelRollout) -> Iterator[Finding]:
    low, high = rollout.spec.compare.bands.boundary
    if low > high:
        yield (
            "spec.compare.bands.boundary",
            f"[{low:g}, {high:g}] is upside down: the lower confidence comes first",
        )


def _no_data_fits(rollout: ModelRollout) -> Iterator[Finding]:
    decision = rollout.spec.decision
    if decision.on_no_data == "rollback" and decision.no_data_timeout > decision.max_duration:
        yield (
            "spec.decision.noDataTimeout",
            f"{decision.no_data_timeout:g}s is longer than maxDuration ({decision.max_duration:g}s), so onNoData "
            "would never be done: shorten it",
        )


def _schedule(rule: str) -> Rule[ModelRollout]:
    def find(rollout: ModelRollout) -> Iterator[Finding]:
        yield from ((path, text) for name, path, text in findings(rollout.spec.schedule) if name == rule)

    return Rule(rule, find)


def _hook_names(rollout: ModelRollout) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, hook in enumerate(rollout.spec.hooks):
        if hook.name in seen:
            yield f"spec.hooks[{index}].name", f"{hook.name} is there twice: give one of them another name"
        seen.add(hook.name)


def _hook_on_fail(rollout: ModelRollout) -> Iterator[Finding]:
    for index, hook in enumerate(rollout.spec.hooks):
        if hook.on_fail is not None and hook.at.startswith("after-"):
            yield f"spec.hooks[{index}].onFail", f"{hook.at} is told, nothing waits for it: leave onFail out"
        elif hook.on_fail == "rollback" and hook.at == "before-start":
            yield f"spec.hooks[{index}].onFail", "before-start there is nothing to roll back: write hold"


def _window_opens(rollout: ModelRollout) -> Iterator[Finding]:
    if shuts_for_good(rollout.spec.schedule):
        yield (
            "spec.schedule.freeze",
            "the freezes cover every window all year: no rollout would ever go forward; shorten one of them",
        )


def _warmup_requests(rollout: ModelRollout) -> Iterator[Finding]:
    yield from warmups.requests(rollout.spec)


def _warmup_times(rollout: ModelRollout) -> Iterator[Finding]:
    yield from warmups.times(rollout.spec)


_RULES: Final[tuple[Rule[ModelRollout], ...]] = (
    Rule("one-source", _one_source),
    Rule("readiness-place", _readiness_place),
    Rule("one-way", lambda rollout: sources.one_way(rollout.spec)),
    Rule("required", lambda rollout: sources.company(rollout.spec)),
    Rule("version-label", lambda rollout: sources.version_label(rollout.spec)),
    Rule("unique-version-names", _unique_names),
    Rule("unique-versions", _unique_identities),
    Rule("port-placeholder", _port_placeholder),
    Rule("base-dir", _base_dir),
    Rule("known-version", _named_versions),
    Rule("one-strategy", _one_strategy),
    Rule("one-kind-a-stage", _one_kind),
    Rule("canary-form", _canary_form),
    Rule("weights-rise", _weights_rise),
    Rule("weights-below-full", _weights_below_full),
    Rule("stage-order", _order),
    Rule("stages-end", _ends),
    Rule("match-form", _match_form),
    Rule("to-named-once", _to_once),
    Rule("shares-fit", _share_fits),
    Rule("replicas-fit", _replicas_fit),
    Rule("approval-expiry", _expiry),
    Rule("pairs-need-copies", _pairs_need_copies),
    Rule("max-duration", _time_fits),
    Rule("unique-check-names", _unique_checks),
    Rule("check-source", _check_source),
    Rule("check-limit", _check_limit),
    Rule("limit-fits-metric", _limit_fits),
    Rule("quantile", _quantile_fits),
    Rule("per-slice", _per_slice),
    Rule("query-version", _query_version),
    Rule("known-check", _known_checks),
    Rule("check-named-once", _named_once),
    Rule("check-cannot-conclude", _can_conclude),
    Rule("check-never-runs", _runs_somewhere),
    Rule("band-order", _band_order),
    Rule("no-data-timeout", _no_data_fits),
    _schedule("cron-fires"),
    _schedule("freeze-form"),
    _schedule("freeze-order"),
    Rule("window-opens", _window_opens),
    Rule("unique-hook-names", _hook_names),
    Rule("hook-on-fail", _hook_on_fail),
    Rule("warmup-requests", _warmup_requests),
    Rule("warmup-times", _warmup_times),
    Rule("traffic-form", routes.form),
    Rule("route-versions", routes.versions),
    Rule("route-evidence", routes.evidence),
    Rule("route-abilities", routes.abilities),
    Rule("take-over", takeovers.own_backends),
)
RULES: Final = with_forms(_RULES)
"""The table, in the order in which faults are listed."""
