"""How long a rollout will need: each step, its slow check, and what would make it faster. Said before it begins.

Nothing here approximates the engine: its own products are fed the counts to be expected of a candidate that is as
good as stable, block by block, until they prove it. Expected counts stand for the median; luck makes a rollout faster
or slower. Where little is known the forecast is on the slow side: the dispersion is taken as the engine takes it
without a history, although a history of minutes usually lowers it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from controller.core.analysis import latency, text
from controller.core.analysis.dispersion import ASSUMED
from controller.core.analysis.engine import (
    BETTER,
    CEILING,
    NO_EVIDENCE,
    PASS_ALPHA,
    Evidence,
    Rules,
    Tally,
    Tolerance,
    add_block,
    log_gains,
    pass_products,
)
from controller.core.analysis.inputs import Roles
from controller.core.analysis.judge import BLOCK_MAX_S, BLOCK_S, CLIP_BLOCKS, is_due, tolerance_of
from controller.core.analysis.readings import INTERVAL_S
from controller.core.analysis.state import Boundary
from controller.core.checks import AtMost, Check, Limit, Metric, NoSlower, NoWorse, Within
from controller.core.spec import FULL, Spec
from controller.core.status import Track, VersionRef
from controller.core.steps import Gate, Step, percent, steps_of
from headgate.wire.telemetry import Telemetry

NOMINAL_PER_S: Final = 100.0
"""Stands for a rate that is not known: how many requests a proof takes hardly depends on it."""

BLOCKS_MAX: Final = 720
"""So many blocks are gone through one by one; what takes longer grows on from there as the last one did."""

RISK_BLOCKS_MAX: Final = 240
"""The same for a bound on the risk; what takes longer is not foretold."""

FOREVER_S: Final = 365 * 86_400.0
"""What takes longer is not reached at all."""

SLOW_S: Final = 60.0
"""Advice is given about a step that needs so much more than its own time."""

MANY: Final = 1_000
"""… or, where the rate is not known, so many requests."""

_LOG_CAP: Final = math.log(CEILING / PASS_ALPHA)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What stable has now: all requests/s (None: not known), its share of errors, and its answers by latency."""

    requests_per_s: float | None = None
    errors: float = 0.0
    histogram: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class CheckForecast:
    """What one check needs in one step: the candidate's requests (or pairs) and seconds, None with `why` it is not known.

    `is_possible` is False when it cannot come at all. `proves` is what those requests prove, in words; `things` says
    which of the two they are.
    """

    check: str
    requests: int | None
    seconds: float | None
    proves: str
    why: str = ""
    is_possible: bool = True
    things: str = "requests"


@dataclass(frozen=True, slots=True)
class StepForecast:
    """How long one step takes: None where that is not known or up to people. `slow` names its slowest check, if any.

    `own_s` is the time that it takes in any case.
    """

    title: str
    seconds: float | None
    own_s: float
    slow: str
    checks: tuple[CheckForecast, ...]
    sentence: str

    @property
    def is_slow(self) -> bool:
        """Whether its evidence, not its own time, is what takes long, or it cannot end."""
        if self.seconds is not None:
            return bool(self.slow) and self.seconds > self.own_s + SLOW_S
        return any(check.requests is None or check.requests > MANY for check in self.checks)


class _Flow(NamedTuple):
    """One check in one step: a block of expected counts, the seconds it is open, and what it is judged by."""

    block: Tally
    block_s: float
    rules: Rules

    @property
    def per_s(self) -> float:
        return self.block.requests / self.block_s


class _Lack(NamedTuple):
    """Why a check counts nothing in a step: `is_final` when it never will, else it is only not known yet."""

    why: str
    is_final: bool = False


def present(
    reports: tuple[Telemetry, ...], stable: VersionRef | None, requests_per_s: float | None
) -> Traffic:
    """Stable's traffic by what the routers have counted of it in all their lives, at the present rate."""
    picked = [
        version.picked
        for report in reports
        for version in report.versions
        if stable is not None and version.identity == stable.identity
    ]
    requests = sum(outcomes.requests for outcomes in picked)
    failed = sum(outcomes.failed for outcomes in picked)
    histogram = latency.stable_histogram(reports, Roles(VersionRef("", ""), 1, stable))
    return Traffic(requests_per_s, min(failed / requests, 1.0) if requests else 0.0, histogram)


def forecast(
    spec: Spec, traffic: Traffic, track: Track = Track.STAGES, done: int = 0
) -> tuple[StepForecast, ...]:
    """What warming up and each step of the rollout need, in order, if the candidate is as good as stable.

    `done` steps are over, and are left out. A schedule is not reckoned in: outside its windows nothing goes on, whatever the evidence.
    """
    ahead = _of_steps(spec, steps_of(spec, track), traffic)[done:]
    return ahead if done else (*_warming(spec, track), *ahead)


def _warming(spec: Spec, track: Track) -> tuple[StepForecast, ...]:
    """The time before the first traffic in which a new version is warmed up; how long that takes nobody knows before."""
    warmup = spec.warmup
    if warmup is None or track is Track.RETURN:
        return ()
    least, most = duration(warmup.stable_for_s), duration(warmup.max_wait_s)
    told = f"warm-up: at least {least}, until it is measured warm, at most {most}"
    return (StepForecast("warm-up", None, warmup.stable_for_s, "", (), told),)


def faster(spec: Spec, traffic: Traffic, track: Track = Track.STAGES) -> tuple[str, ...]:
    """What would make the slowest step faster, with how long it would take then; nothing if none is slow."""
    steps = steps_of(spec, track)
    now = _of_steps(spec, steps, traffic)
    slow = [index for index, one in enumerate(now) if one.is_slow and one.seconds is not None]
    if not slow:
        return ()
    index = max(slow, key=lambda i: now[i].seconds or 0.0)
    said = []
    for name, other_spec, other_steps in _other_ways(spec, steps, index, now[index].slow):
        then = _of_steps(other_spec, other_steps, traffic)[index].seconds
        if then is not None and then < (now[index].seconds or 0.0):
            said.append(f"{name}: {now[index].title} in about {duration(then)}")
    return tuple(said)


def duration(seconds: float) -> str:
    """A duration as people say it: `45 s`, `4 min`, `3 h`, `5 days`."""
    for unit, size, most in (("s", 1.0, 90.0), ("min", 60.0, 5_400.0), ("h", 3_600.0, 172_800.0)):
        if seconds < most:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds / 86_400)} days"


def _of_steps(spec: Spec, steps: tuple[Step, ...], traffic: Traffic) -> tuple[StepForecast, ...]:
    evidence: dict[str, Evidence] = {}
    told = []
    for index, step in enumerate(steps):
        following = steps[index + 1].weight / FULL if index + 1 < len(steps) else 1.0
        checks = [check for check in spec.checks if check.name in step.checks and not check.dry_run]
        flows = {check.name: _flow(spec, check, step, traffic) for check in checks}
        required = [check for check in checks if check.required and step.gate in _PROVING]
        needs = [
            _need(check, flows[check.name], evidence.get(check.name, NO_EVIDENCE), step, following)
            for check in required
        ]
        needs += _pairs(step, traffic)
        one = _step(step, needs, traffic)
        told.append(one)
        for check in checks:
            flow = flows[check.name]
            if isinstance(flow, _Flow):
                known = evidence.get(check.name, NO_EVIDENCE)
                evidence[check.name] = _grown(known, flow, (_length(step, needs)) / flow.block_s)
    return tuple(told)


_PROVING: Final = (Gate.PASS, Gate.FRESH, Gate.RISK)


def _length(step: Step, needs: Sequence[CheckForecast]) -> float:
    """Seconds that the step takes as far as known, at the nominal rate where there is none."""
    return max([step.min_s, *(need.seconds or 0.0 for need in needs)])


# --- one check in one step -----------------------------------------------------------------------------------------


def _flow(spec: Spec, check: Check, step: Step, traffic: Traffic) -> _Flow | _Lack:
    """What the check will count in this step; or in words why that is not known or nothing."""
    boundary = _boundary(check, traffic)
    if isinstance(boundary, _Lack):
        return boundary
    tolerance = tolerance_of(check, boundary)
    if isinstance(tolerance, str):
        return _Lack(tolerance, is_final=True)
    rates = _rates(check, step, traffic, tolerance)
    if isinstance(rates, _Lack):
        return rates
    share = _share_of_events(check, boundary, traffic)
    block_s = BLOCK_S
    while not is_due(_block(rates, share, block_s), block_s, BLOCK_S, tolerance) and block_s < BLOCK_MAX_S:
        block_s += 1.0
    alpha = spec.policy.alpha
    rules = Rules(tolerance, alpha, interval_alpha=alpha, dispersion=ASSUMED, clip_blocks=CLIP_BLOCKS)
    return _Flow(_block(rates, share, block_s), block_s, rules)


def _boundary(check: Check, traffic: Traffic) -> Boundary | _Lack | None:
    if check.metric is Metric.PROMETHEUS:
        return _Lack("what its counters count is not known beforehand")
    if check.metric is Metric.GAUGE:
        return _Lack("what its value will be is not known beforehand")
    if check.metric is Metric.LATENCY and isinstance(check.limit, NoSlower):
        boundary = latency.fix(traffic.histogram, check.limit)
        return _Lack(boundary) if isinstance(boundary, str) else boundary
    return None


def _rates(check: Check, step: Step, traffic: Traffic, tolerance: Tolerance) -> tuple[float, float] | _Lack:
    """Requests (or pairs) per second of candidate and stable; or in words why there are none."""
    rate = traffic.requests_per_s or NOMINAL_PER_S
    live = step.weight / FULL
    if step.match is not None and not live and check.metric is not Metric.DISAGREEMENT:
        if step.match.share == FULL and not tolerance.is_absolute:
            return _Lack("stable answers none of the requests that match: give the limit as `max`", True)
        return _Lack("how many requests match is not known beforehand")
    if check.metric is Metric.DISAGREEMENT:
        if not tolerance.is_absolute:
            return _Lack("how often stable disagrees with itself is not known beforehand")
        pairs = _pairs_per_s(step, rate)
        return (pairs, 0.0) if pairs else _Lack("nothing is copied to the candidate in this step", True)
    if not live:
        return _Lack("the candidate has no live traffic in this step", True)
    if live == 1 and not tolerance.is_absolute:
        return _Lack("stable has no traffic to compare with at 100 %: give the limit as `max`", True)
    return rate * live, rate * (1 - live)


def _pairs_per_s(step: Step, rate: float) -> float:
    return rate * (1 - step.weight / FULL) * step.sample_ppm / 1_000_000


def _share_of_events(check: Check, boundary: Boundary | None, traffic: Traffic) -> float:
    """How often the counted event happens, at stable and at a candidate that is as good."""
    if check.metric is Metric.DISAGREEMENT:
        return 0.0
    if boundary is not None and isinstance(check.limit, NoSlower):
        return boundary.nearness * (1 - check.limit.quantile)
    return traffic.errors


def _block(rates: tuple[float, float], share: float, seconds: float) -> Tally:
    mine, others = rates[0] * seconds, rates[1] * seconds
    return Tally(mine, mine * share, others, others * share)


def _need(
    check: Check, flow: _Flow | _Lack, evidence: Evidence, step: Step, following: float
) -> CheckForecast:
    if isinstance(check.limit, Within):
        return CheckForecast(
            check.name, check.limit.of, check.limit.of * INTERVAL_S, "of this step", things="measurements"
        )
    if isinstance(flow, _Lack):
        return CheckForecast(check.name, None, None, "", flow.why, is_possible=not flow.is_final)
    least_s = max(check.min_requests, 1) / flow.per_s
    if step.gate is Gate.FRESH:
        return _counted(check, flow, least_s, "of this step")
    if step.gate is Gate.RISK:
        budget = step.risk_budget or 0.0
        proven_s = _until_within(evidence, flow, following, budget)
        proves = f"to bound the risk to {budget:.2%} at the next weight"
    else:
        proven_s = _until_pass(evidence, flow)
        proves = f"to prove {_limit(check, flow)}"
    if proven_s is None:
        why = f"one that is as good as stable cannot be shown {_limit(check, flow)}"
        return CheckForecast(check.name, None, None, proves, why, is_possible=False)
    return _counted(check, flow, max(proven_s, least_s), proves)


def _counted(check: Check, flow: _Flow, seconds: float, proves: str) -> CheckForecast:
    count = math.ceil(seconds * flow.per_s - 1e-6)
    return CheckForecast(check.name, count, seconds, proves, things=text.things(check))


def _pairs(step: Step, traffic: Traffic) -> list[CheckForecast]:
    """The number of compared pairs that the stage itself wants."""
    if not step.min_pairs:
        return []
    per_s = _pairs_per_s(step, traffic.requests_per_s or NOMINAL_PER_S)
    if not per_s:
        return [CheckForecast("minPairs", None, None, "", "nothing is copied", is_possible=False)]
    return [CheckForecast("minPairs", step.min_pairs, step.min_pairs / per_s, "to compare", things="pairs")]


def _until_pass(evidence: Evidence, flow: _Flow) -> float | None:
    """Seconds until the engine's products prove a Pass on expected counts; None if they never do."""
    for blocks in range(BLOCKS_MAX + 1):
        if evidence.is_within_tolerance():
            return blocks * flow.block_s
        evidence = _passing(evidence, flow)
    more = _blocks_left(evidence.better, flow)
    return None if more is None else (BLOCKS_MAX + 1 + more) * flow.block_s


def _passing(evidence: Evidence, flow: _Flow) -> Evidence:
    better = pass_products(evidence, flow.block, in_outage=False, rules=flow.rules)
    return evidence._replace(better=better, blocks=evidence.blocks + 1)


def _blocks_left(better: tuple[float, ...], flow: _Flow) -> int | None:
    """How many blocks more until the products, each growing as in one such block, prove it; None for never."""
    growth = [gain / flow.rules.dispersion for gain in log_gains(flow.block, flow.rules.tolerance, BETTER)]

    def is_proven(blocks: int) -> bool:
        grown = _after(better, growth, blocks)
        return sum(grown) * PASS_ALPHA >= 1

    low, high = 0, math.ceil(FOREVER_S / flow.block_s)
    if not is_proven(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_proven(middle) else (middle + 1, high)
    return low


def _after(better: tuple[float, ...], growth: Sequence[float], blocks: float) -> tuple[float, ...]:
    return tuple(
        math.exp(min(math.log(product) + blocks * gain, _LOG_CAP)) if product > 0 else 0.0
        for product, gain in zip(better, growth, strict=True)
    )


def _until_within(evidence: Evidence, flow: _Flow, following: float, budget: float) -> float | None:
    """Seconds until the upper bound of the excess at the next weight is within the budget; None if that takes too long."""
    for blocks in range(RISK_BLOCKS_MAX + 1):
        if evidence.high is not None and following * max(evidence.high, 0.0) <= budget:
            return blocks * flow.block_s
        evidence = add_block(evidence, flow.block, 0, flow.rules)
    return None


def _grown(evidence: Evidence, flow: _Flow, blocks: float) -> Evidence:
    """The evidence after so many blocks."""
    for _ in range(min(math.floor(blocks), RISK_BLOCKS_MAX)):
        evidence = add_block(evidence, flow.block, 0, flow.rules)
    more = math.floor(blocks) - RISK_BLOCKS_MAX
    if more <= 0:
        return evidence
    growth = [gain / flow.rules.dispersion for gain in log_gains(flow.block, flow.rules.tolerance, BETTER)]
    return evidence._replace(better=_after(evidence.better, growth, more), blocks=evidence.blocks + more)


# --- words ---------------------------------------------------------------------------------------------------------


def _limit(check: Check, flow: _Flow) -> str:
    match check.limit:
        case NoSlower(quantile, slower):
            return f"at most {slower:.0%} slower at {latency.named(quantile)}"
        case AtMost(limit):
            return f"at most {100 * limit:g} %"
        case NoWorse(ratio, plus):
            stable = flow.block.events / flow.block.requests
            return f"at most {100 * ((ratio - 1) * stable + plus):+.2g} pp"
        case Within():
            return check.limit.in_words()


def _step(step: Step, needs: Sequence[CheckForecast], traffic: Traffic) -> StepForecast:
    blocked = min((n for n in needs if n.requests is None), key=lambda n: n.is_possible, default=None)
    slowest = max((n for n in needs if n.requests is not None), key=lambda n: n.seconds or 0.0, default=None)
    is_known = traffic.requests_per_s is not None or not needs
    is_automatic = step.gate not in (Gate.PERSON, Gate.APPROVAL)
    length = _length(step, needs)
    seconds = length if is_known and is_automatic and blocked is None else None
    if not is_known:
        needs = [replace(need, seconds=None) for need in needs]
    if not is_automatic:
        told, slow = "until somebody acts", ""
    elif blocked is not None:
        told, slow = _blocked(step, blocked, slowest, length, traffic), blocked.check
    elif slowest is None:
        told, slow = f"{duration(step.min_s)}, its own time" if step.min_s else "at once", ""
    else:
        told, slow = _told(step, slowest, length, traffic), slowest.check
    return StepForecast(step.title, seconds, step.min_s, slow, tuple(needs), f"{step.title}: {told}")


def _blocked(
    step: Step, blocked: CheckForecast, slowest: CheckForecast | None, length: float, traffic: Traffic
) -> str:
    """That the step cannot end, or what is known although one check is not."""
    if not blocked.is_possible:
        return f"never by itself: {blocked.check}: {blocked.why}"
    unknown = f"{blocked.check} not known yet ({blocked.why})"
    return unknown if slowest is None else f"{_told(step, slowest, length, traffic)}; {unknown}"


def _told(step: Step, slowest: CheckForecast, length: float, traffic: Traffic) -> str:
    what = f"{slowest.requests:,} {slowest.things} {slowest.proves}"
    if traffic.requests_per_s is None:
        own = f", and {duration(step.min_s)}" if step.min_s else ""
        return f"{slowest.check} is the slow one, with {what}{own}; how long that takes is known with the traffic"
    at = f"at {traffic.requests_per_s:.3g} requests/s"
    if (slowest.seconds or 0.0) <= step.min_s:
        return f"{duration(length)}, its own time; {slowest.check} needs {duration(slowest.seconds or 0.0)} of it {at} ({what})"
    return f"about {duration(length)} {at}; {slowest.check} is the slow one ({what})"


def _other_ways(
    spec: Spec, steps: tuple[Step, ...], index: int, slow: str
) -> list[tuple[str, Spec, tuple[Step, ...]]]:
    """What one could change about the slow check or its step: in words, and what the rollout is then."""
    ways = []
    check = next((check for check in spec.checks if check.name == slow), None)
    if check is not None and steps[index].gate is Gate.PASS:
        name, limit = _wider(check)
        checks = tuple(replace(one, limit=limit) if one is check else one for one in spec.checks)
        ways.append((f"{slow} with {name}", replace(spec, checks=checks), steps))
    step = steps[index]
    if 0 < step.weight <= FULL // 2:
        more = replace(step, weight=2 * step.weight)
        ways.append((f"a weight of {percent(more.weight)}", spec, _with(steps, index, more)))
    if 0 < step.sample_ppm < 1_000_000:
        more = replace(step, sample_ppm=min(2 * step.sample_ppm, 1_000_000))
        ways.append((f"a sample of {more.sample_ppm / 10_000:g} %", spec, _with(steps, index, more)))
    return ways


def _with(steps: tuple[Step, ...], index: int, step: Step) -> tuple[Step, ...]:
    return (*steps[:index], step, *steps[index + 1 :])


def _wider(check: Check) -> tuple[str, Limit]:
    """A wider tolerance, as it is written."""
    match check.limit:
        case NoWorse(ratio, plus):
            wider = max(5 * plus, 0.001)
            return f"`plus: {100 * wider:g}pp`", NoWorse(ratio, wider)
        case NoSlower(quantile, slower):
            wider = max(2 * slower, 0.05)
            return f"`slower: {100 * wider:g}%`", NoSlower(quantile, wider)
        case AtMost(limit):
            wider = min(2 * limit, 1.0)
            return f"`max: {100 * wider:g}%`", AtMost(wider)
        case Within(of=of, at=at):
            fewer = max(of // 2, 1)
            return f"`failures: {{of: {fewer}}}`", replace(check.limit, of=fewer, at=min(at, fewer))
