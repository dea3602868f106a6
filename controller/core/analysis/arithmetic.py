"""The arithmetic behind a verdict, with the numbers put in: what was counted, what that is worth, what is still missing.

For who wants to check a verdict or wonders why there is none yet. The formulas are those of docs/analysis.md; nothing is
computed anew here that the judge has not computed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from controller.core.analysis import latency
from controller.core.analysis.engine import BETTER, PASS_ALPHA, WORSE, Evidence, Rules, Tolerance, clip
from controller.core.analysis.judge import alpha_of, rules_of, share_of, tolerance_of
from controller.core.analysis.state import WHOLE, AnalysisState, CheckState, Line
from controller.core.checks import Check, Metric, Within


@dataclass(frozen=True, slots=True)
class Term:
    """One line of the arithmetic: what it is about, and the numbers in a sentence."""

    name: str
    text: str


def arithmetic(
    check: Check, checks: tuple[Check, ...], state: AnalysisState, alpha: float
) -> tuple[Term, ...]:
    """The terms of one check of a rollout's `checks`, which share `alpha`; of one never judged, what it will ask."""
    known = state.checks.get(check.name)
    if isinstance(check.limit, Within):
        return tuple(_gauge(check.limit, known))
    return tuple(_counters(check, known, alpha, share_of(check, checks)))


def _gauge(within: Within, known: CheckState | None) -> Iterator[Term]:
    yield Term("tolerated", f"{within.in_words()}; {within.at} of the last {within.of} beyond fail")
    if known is None:
        yield Term("measured", "nothing yet")
        return
    beyond = (
        ", ".join("beyond" if one else "within" for one in known.readings.beyond) or "none of this step yet"
    )
    value = known.readings.value
    yield Term("measured", beyond + ("" if value is None else f"; the newest value is {value:.6g}"))


def _counters(check: Check, known: CheckState | None, alpha: float, share: float) -> Iterator[Term]:
    own = alpha_of(check, WHOLE, alpha, share)
    yield Term(
        "alpha",
        f"{own:.3g} of the rollout's {alpha:.3g}: it fails when the product is {1 / own:,.0f} or more",
    )
    tolerance = tolerance_of(check, known.boundary if known is not None else None)
    if isinstance(tolerance, str):
        yield Term("tolerated", tolerance)
        return
    yield Term("tolerated", _tolerated(check, tolerance, known))
    line = known.lines.get(WHOLE) if known is not None else None
    if known is None or line is None:
        yield Term("counted", "nothing yet")
        return
    yield from _evidence(check, known, line, rules_of(check, known, WHOLE, tolerance, alpha, share))
    yield from _slices(known)


def _tolerated(check: Check, tolerance: Tolerance, known: CheckState | None) -> str:
    if tolerance.is_absolute:
        return f"p_c ≤ {100 * tolerance.plus:.6g} %"
    said = f"p_c ≤ {tolerance.ratio:.4g} p_s + {100 * tolerance.plus:.4g} pp"
    if check.metric is Metric.LATENCY and known is not None and known.boundary is not None:
        bound = 1000 * latency.bound_s(known.boundary)
        said += f", where p is the share of answers slower than {bound:,.4g} ms"
    return said


def _evidence(check: Check, known: CheckState, line: Line, rules: Rules) -> Iterator[Term]:
    evidence, needed = line.evidence, 1 / rules.alpha
    yield Term("counted", _counted(evidence))
    yield Term("open block", _open(line))
    how = "learned from stable's two halves" if known.dispersion.is_known else "assumed: not known yet"
    yield Term("dispersion", f"φ = {rules.dispersion:.3g} ({how}): every logarithm is divided by it")
    yield Term("clip", f"one block multiplies by {math.exp(clip(rules)):,.3g} at most")
    yield Term("fail", _product(evidence.worse, WORSE, needed, "times what is tolerated"))
    if rules.strict:
        yield Term("hold", _product(evidence.strict, WORSE, needed, "times stable's share"))
    yield Term("pass", _product(evidence.better, BETTER, 1 / PASS_ALPHA, "of what is tolerated"))
    yield Term("interval", _interval(evidence, rules.tolerance, rules.interval_alpha))


def _counted(evidence: Evidence) -> str:
    total = evidence.total
    mine = f"candidate {_share(total.events, total.requests)}"
    theirs = (
        f", stable {_share(total.reference_events, total.reference_requests)}"
        if total.reference_requests
        else ""
    )
    weighted = evidence.reference
    said = (
        f"; weighted as the candidate's requests came, stable's is {100 * weighted:.3g} %"
        if weighted is not None
        else ""
    )
    return f"{mine}{theirs}, in {evidence.blocks:,} blocks{said}"


def _share(events: float, requests: float) -> str:
    share = f" = {100 * events / requests:.3g} %" if requests else ""
    return f"{events:,.0f} of {requests:,.0f}{share}"


def _open(line: Line) -> str:
    block = line.block
    said = f"candidate {block.events:,.0f} of {block.requests:,.0f}"
    return (
        said + f", stable {block.reference_events:,.0f} of {block.reference_requests:,.0f}; not counted yet"
    )


def _product(products: tuple[float, ...], ratios: tuple[float, ...], needed: float, what: str) -> str:
    """The sum over the alternatives, which of them explains most, and how much is missing."""
    total = sum(products)
    if total <= 0:
        return f"0 of {needed:,.0f}"
    likely = ratios[max(range(len(products)), key=products.__getitem__)]
    state = "reached" if total >= needed else f"{needed / total:,.3g} times as much is needed"
    return f"{total:,.3g} of {needed:,.0f}: {state}; the largest term says {likely:g} {what}"


def _interval(evidence: Evidence, tolerance: Tolerance, alpha: float) -> str:
    if evidence.low is None or evidence.high is None:
        return "not known yet"
    what = "of the share" if tolerance.is_absolute else "of p_c − p_s"
    return f"[{100 * evidence.low:+.3f}, {100 * evidence.high:+.3f}] pp {what}, at any time, with {100 * (1 - alpha):.4g} %"


def _slices(known: CheckState) -> Iterator[Term]:
    """The slices that come nearest to a Fail, at most five."""
    slices = [(name, sum(line.evidence.worse), line) for name, line in known.lines.items() if name != WHOLE]
    for name, product, line in sorted(slices, key=lambda one: -one[1])[:5]:
        yield Term(f"slice {name}", f"{_counted(line.evidence)}; product {product:,.3g}")
