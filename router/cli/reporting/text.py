"""The report for a terminal."""

import json
import math
from collections.abc import Sequence
from typing import Any

from headgate.wire.record import ComparisonRecord
from headgate.wire.telemetry import ShadowCounters
from router.core.report import Section, directions, percent

SLICES_SHOWN = 15
DIRECTIONS_SHOWN = 15
PAYLOAD_CHARS = 160


def render(section: Section) -> str:
    """One pairing as text, at most 110 columns where the data allow it."""
    parts = [
        f"{title(section)}\n{section.decision.sentence}",
        _agreement(section),
        _slices(section),
        _directions(section.counters),
        _latency(section),
        _measures(section),
        _errors(section),
        _not_measured(section),
        _examples(section),
    ]
    return "\n\n".join(part for part in parts if part)


def title(section: Section) -> str:
    """Whose report it is; a version is its name and what the name stood for."""
    shadow, live = (
        f"{name} ({clean(identity, 12)})" if identity else name
        for name, identity in (
            (section.shadow, section.shadow_identity),
            (section.live, section.live_identity),
        )
    )
    return f"{clean(section.rollout, 127)}: shadow {shadow} against live {live}"


def table(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Rows in aligned columns, two spaces in; `right` are the columns of numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(widths[index]) if index in right else cell.ljust(widths[index])
            for index, cell in enumerate(row)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def figure(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def clean(text: str, length: int) -> str:
    """Text on one line without control characters: what a model said must not move a reader's cursor."""
    shown = "".join(sign if sign.isprintable() else "·" for sign in text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def compact(value: Any, length: int = PAYLOAD_CHARS) -> str:
    """A stored payload on one line."""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), length)


def shown_measures(record: ComparisonRecord) -> list[tuple[str, float]]:
    """A record's measures by name; how many of its rows differ is worth saying of a batch only."""
    is_batch = record.measures.get("rows", 1) > 1
    return sorted(one for one in record.measures.items() if is_batch or not one[0].startswith("rows"))


def _agreement(section: Section) -> str:
    found, counters = section.disagreement, section.counters
    if found is None or counters is None:
        return ""
    lines = [
        f"Agreement {percent(1 - found.estimate)} of {found.total:,} compared pairs, "
        f"99 % interval [{percent(1 - found.high)}, {percent(1 - found.low)}]"
    ]
    firm = counters.disagreements - counters.soft
    lines.append(f"  disagreements: {counters.disagreements:,} = {firm:,} firm + {counters.soft:,} soft")
    if section.coverage is not None:
        whole = section.coverage
        lines.append(f"  coverage: {percent(whole.estimate)} of {whole.total:,} sampled pairs were compared")
    return "\n".join(lines)


def _slices(section: Section) -> str:
    if not section.slices:
        return ""
    rows = [("slice", "agree", "99 % interval", "pairs", "disagree")]
    for one in section.slices[:SLICES_SHOWN]:
        found = one.disagreement
        interval = f"[{percent(1 - found.high)}, {percent(1 - found.low)}]"
        rows.append(
            (
                clean(one.name, 40),
                percent(1 - found.estimate),
                interval,
                f"{found.total:,}",
                f"{found.events:,}",
            )
        )
    more = len(section.slices) - SLICES_SHOWN
    rest = f"\n  … and {more} more, all better" if more > 0 else ""
    return "Slices, the worst first\n" + table(rows, frozenset({1, 2, 3, 4})) + rest


def _directions(counters: ShadowCounters | None) -> str:
    found = directions(counters) if counters is not None else []
    if not found or counters is None:
        return ""
    rows = [("live", "shadow", "pairs", "of disagreements")]
    for live, shadow, count in found[:DIRECTIONS_SHOWN]:
        part = percent(count / counters.disagreements) if counters.disagreements else ""
        rows.append((clean(live, 30), clean(shadow, 30), f"{count:,}", part))
    more = len(found) - DIRECTIONS_SHOWN
    rest = f"\n  … and {more} more directions" if more > 0 else ""
    return (
        "Directions: what the live version said, and the shadow instead\n"
        + table(rows, frozenset({2, 3}))
        + rest
    )


def _latency(section: Section) -> str:
    if not section.latency:
        return ""
    rows = [("", "live ms", "shadow ms", "ratio")]
    rows += [
        (row.quantile, f"{row.live_ms:.2f}", f"{row.shadow_ms:.2f}", f"{row.ratio:.2f}")
        for row in section.latency
    ]
    paired = section.latency_ratio
    said = (
        f"\n  pair by pair, {paired.pairs:,} kept pairs: p50 {paired.p50:.2f} ×, p95 {paired.p95:.2f} ×"
        if paired is not None
        else ""
    )
    return "Latency over all compared pairs\n" + table(rows, frozenset({1, 2, 3})) + said


def _measures(section: Section) -> str:
    if not section.measures:
        return ""
    rows = [("measure", "of kept", "pairs", "p50", "p95", "largest")]
    rows += [
        (clean(one.name, 40), one.of, f"{one.pairs:,}", figure(one.p50), figure(one.p95), figure(one.largest))
        for one in section.measures
    ]
    return "Measures\n" + table(rows, frozenset({2, 3, 4, 5}))


def _errors(section: Section) -> str:
    counters = section.counters
    if counters is None or not (counters.shadow_failed or counters.live_failed or counters.both_failed):
        return ""
    rows = [
        ("", "shadow answered", "shadow failed"),
        ("live answered", f"{counters.pairs:,} compared", f"{counters.shadow_failed:,}"),
        ("live failed", f"{counters.live_failed:,}", f"{counters.both_failed:,}"),
    ]
    return "Errors\n" + table(rows, frozenset({1, 2}))


def _not_measured(section: Section) -> str:
    if not section.not_measured:
        return ""
    lines = [f"  {sentence}" for sentence in section.not_measured]
    if section.reasons:
        lines.append("  In the words of the kept records:")
        lines += [f"    {count:>7,}  {clean(why, 90)}" for why, count in section.reasons]
    return "Not measured\n" + "\n".join(lines)


def _examples(section: Section) -> str:
    if not section.examples:
        return ""
    lines = [line for record in section.examples for line in _example(record)]
    return f"{len(section.examples)} disagreements, of every kind\n" + "\n".join(lines)


def _example(record: ComparisonRecord) -> list[str]:
    what = record.direction or " ".join(record.paths[:3]) or "differs"
    measures = ", ".join(f"{clean(name, 40)} {figure(value)}" for name, value in shown_measures(record))
    lines = [f"  {clean(record.request_id, 40)}  {record.verdict}  {clean(what, 60)}", f"      {measures}"]
    for name, side in (("live", record.live), ("shadow", record.shadow)):
        sure = f", confidence {figure(side.confidence)}" if side.confidence is not None else ""
        lines.append(
            f"      {name} {side.version}: {compact(side.prediction)}{sure}, {side.latency_ms:.2f} ms"
        )
    if record.request is not None:
        lines.append(f"      request: {compact(record.request)}")
    return lines
