"""A verdict in one line that a person understands, with the numbers it rests on."""

from dataclasses import dataclass

from controller.core.analysis import latency
from controller.core.analysis.engine import Evidence, Tolerance
from controller.core.analysis.readings import Readings
from controller.core.analysis.state import WHOLE, Boundary
from controller.core.checks import Check, Metric, NoSlower, Verdict, Within


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sentence is about: one line of evidence of a check, and what was tolerated."""

    check: Check
    evidence: Evidence
    tolerance: Tolerance
    alpha: float
    slice_name: str = WHOLE
    boundary: Boundary | None = None


def sentence(measured: Measured, verdict: Verdict, why: str, notes: tuple[str, ...] = ()) -> str:
    """For example `error rate 2.24 % against 0.42 % over 625 requests, 99 % interval of the difference [+0.22, +4.79] pp, tolerated +0.10 pp → Fail`."""
    end = f" → {verdict.value}" + (f": {why}" if why else "")
    return _numbers(measured) + end + "".join(f" ({note})" for note in notes)


def gauge(
    check: Check, within: Within, known: Readings, verdict: Verdict, notes: tuple[str, ...], why: str
) -> str:
    """For example `gpu 0.93, limit at most 0.9: 3 of the last 5 measurements beyond, 3 of 5 fail → Fail`."""
    value = "unknown" if known.value is None else f"{known.value:.4g}"
    counted = f"{sum(known.beyond)} of the last {len(known.beyond)} measurements beyond, {within.at} of {within.of} fail"
    end = f" → {verdict.value}" + (f": {why}" if why else "")
    return f"{check.name} {value}, limit {within.in_words()}: {counted}{end}" + "".join(
        f" ({note})" for note in notes
    )


def tolerated(evidence: Evidence, tolerance: Tolerance) -> float | None:
    """The tolerated difference to stable as a fraction of requests, or the absolute limit; None while stable is unknown.

    No difference can be larger than what is left above stable's own share.
    """
    if tolerance.is_absolute:
        return tolerance.plus
    reference = evidence.reference
    if reference is None:
        return None
    return min((tolerance.ratio - 1) * reference + tolerance.plus, 1 - reference)


def things(check: Check) -> str:
    """What is counted, in the plural."""
    return "pairs" if check.metric is Metric.DISAGREEMENT else "requests"


def _numbers(measured: Measured) -> str:
    evidence, check = measured.evidence, measured.check
    subject = _subject(measured)
    if evidence.ratio is None:
        return subject
    over = f"over {evidence.total.requests:,.0f} {things(check)}"
    confidence = f"{100 * (1 - measured.alpha):.4g} % interval"
    bound = tolerated(evidence, measured.tolerance)
    if measured.tolerance.is_absolute:
        interval = _interval(evidence, "", "%")
        return (
            f"{subject} {_percent(evidence.ratio)} {over}, {confidence} {interval}, limit {_percent(bound)}"
        )
    interval = _interval(evidence, "+", "pp")
    rates = f"{_percent(evidence.ratio)} against {_percent(evidence.reference)}"
    return f"{subject} {rates} {over}, {confidence} of the difference {interval}, tolerated {_points(bound)}"


def _subject(measured: Measured) -> str:
    check = measured.check
    where = f" on slice {measured.slice_name}" if measured.slice_name != WHOLE else ""
    match check.metric:
        case Metric.ERRORS:
            return f"error rate{where}"
        case Metric.DISAGREEMENT:
            return f"disagreement{where}"
        case Metric.LATENCY if measured.boundary is not None and isinstance(check.limit, NoSlower):
            milliseconds = 1000 * latency.bound_s(measured.boundary)
            return (
                f"share slower than {milliseconds:,.4g} ms (stable's {latency.named(check.limit.quantile)})"
            )
        case Metric.LATENCY:
            return "latency"
        case Metric.PROMETHEUS | Metric.GAUGE:
            return f"{check.name} rate"


def _interval(evidence: Evidence, sign: str, unit: str) -> str:
    if evidence.low is None or evidence.high is None:
        return "not known yet"
    low = max(evidence.low, 0.0) if not sign else evidence.low
    return f"[{100 * low:{sign}.2f}, {100 * evidence.high:{sign}.2f}] {unit}"


def _percent(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{100 * ratio:.2f} %"


def _points(difference: float | None) -> str:
    return "unknown" if difference is None else f"{100 * difference:+.2f} pp"
