"""The report as one HTML page: inline CSS and SVG, no script, nothing loaded, every text escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from headgate.histogram import BOUNDS_S
from headgate.wire.record import ComparisonRecord
from headgate.wire.telemetry import ShadowCounters
from router.cli.reporting.text import clean, compact, figure, shown_measures, title
from router.core.report import Section, Share, directions, percent

MATRIX_MAX: Final = 24
SLICES_MAX: Final = 64
PAYLOAD_CHARS: Final = 600

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
.decision{padding:.7rem 1rem;border-left:.4rem solid #8a8f98;background:#f4f5f7}
.PASS{border-color:#2a7d46}.FAIL{border-color:#b3261e}.HOLD{border-color:#b07a00}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.2rem .7rem;border-bottom:1px solid #dfe2e6;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.m{text-align:right;min-width:2.2rem}
code{font:13px ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#1b1f24}
.scroll{overflow-x:auto}
"""


def render(sections: Sequence[Section], warnings: Sequence[str]) -> str:
    """The whole page."""
    body = "\n".join(_section(one) for one in sections)
    notes = "".join(f"<p>Note: {escape(warning)}</p>" for warning in warnings)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Headgate: shadow comparison</title><style>{_STYLE}</style></head>\n<body>\n{body}\n{notes}</body></html>"
    )


def _section(one: Section) -> str:
    head = f"<h1>{escape(title(one))}</h1>"
    verdict = one.decision.verdict.replace(" ", "-")
    decision = f'<p class="decision {verdict}">{escape(one.decision.sentence)}</p>'
    parts = [
        head,
        decision,
        _agreement(one),
        _titled("Agreement by slice, the worst first", _slice_chart(one)),
        _titled("Directions: live (rows) and shadow (columns)", _matrix(one.counters)),
        _titled("Latency over all compared pairs", _latency(one)),
        _titled("Measures", _measures(one)),
        _titled("Errors", _errors(one.counters)),
        _titled(
            "Not measured",
            _listed([*one.not_measured, *(f"{count:,} × {why}" for why, count in one.reasons)]),
        ),
        _titled(f"{len(one.examples)} disagreements, of every kind", _examples(one.examples)),
    ]
    return "\n".join(part for part in parts if part)


def _titled(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}" if content else ""


def _table(rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """Rows of text, the first one the head; the first `texts` columns are words, the others numbers."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = "".join(
            f"<{tag}{'' if index < texts else ' class=n'}>{escape(clean(cell, 200))}</{tag}>"
            for index, cell in enumerate(row)
        )
        lines.append(f"<tr>{cells}</tr>")
    return f"<div class=scroll><table>{''.join(lines)}</table></div>"


def _listed(items: Iterable[str]) -> str:
    lines = "".join(f"<li>{escape(clean(item, 300))}</li>" for item in items)
    return f"<ul>{lines}</ul>" if lines else ""


def _agreement(one: Section) -> str:
    found, counters = one.disagreement, one.counters
    if found is None or counters is None:
        return ""
    rows = [
        ("pairs compared", f"{found.total:,}"),
        ("agree", f"{percent(1 - found.estimate)}, 99 % interval {_interval(found)}"),
        ("disagree firmly", f"{counters.disagreements - counters.soft:,}"),
        ("disagree softly", f"{counters.soft:,}"),
    ]
    if one.coverage is not None:
        rows.append(("coverage", f"{percent(one.coverage.estimate)} of {one.coverage.total:,} sampled pairs"))
    return _table([("", ""), *rows])


def _interval(disagreement: Share) -> str:
    return f"[{percent(1 - disagreement.high)}, {percent(1 - disagreement.low)}]"


def _slice_chart(one: Section) -> str:
    """A bar of agreement for each slice, with its interval."""
    shown = one.slices[:SLICES_MAX]
    if not shown:
        return ""
    rows = []
    for index, each in enumerate(shown):
        found, y = each.disagreement, 22 * index
        left, width = 190, 400
        bar = width * (1 - found.estimate)
        low, high = left + width * (1 - found.high), left + width * (1 - found.low)
        rows.append(
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(clean(each.name, 26))}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{width}" height="14" fill="#f0d9d7"/>'
            f'<rect x="{left}" y="{y + 4}" width="{bar:.1f}" height="14" fill="#5b8db8"/>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 11}" y2="{y + 11}" stroke="#1b1f24" stroke-width="2"/>'
            f'<text x="{left + width + 8}" y="{y + 15}">{percent(1 - found.estimate)} of {found.total:,}</text>'
        )
    height = 22 * len(shown) + 4
    return f'<svg viewBox="0 0 780 {height}" width="780" role="img" aria-label="agreement by slice">{"".join(rows)}</svg>'


def _matrix(counters: ShadowCounters | None) -> str:
    found = directions(counters) if counters is not None else []
    if not found or counters is None:
        return ""
    weights: dict[str, int] = {}
    for live, shadow, count in found:
        weights[live] = weights.get(live, 0) + count
        weights[shadow] = weights.get(shadow, 0) + count
    labels = sorted(sorted(weights, key=lambda one: -weights[one])[:MATRIX_MAX])
    cells = {(live, shadow): count for live, shadow, count in found}
    agreed = {
        name.removeprefix("class="): one.pairs - one.disagreements for name, one in counters.slices.items()
    }
    most = max(cells.values())
    head = "<tr><th></th>" + "".join(f"<th class=n>{escape(clean(one, 20))}</th>" for one in labels) + "</tr>"
    rows = [_matrix_row(live, labels, cells, agreed, most) for live in labels]
    rest = f"<p>The {MATRIX_MAX} labels with the most disagreements.</p>" if len(weights) > MATRIX_MAX else ""
    return f"<div class=scroll><table>{head}{''.join(rows)}</table></div>{rest}"


def _matrix_row(
    live: str, labels: list[str], cells: dict[tuple[str, str], int], agreed: dict[str, int], most: int
) -> str:
    columns = []
    for shadow in labels:
        count = agreed.get(live, 0) if live == shadow else cells.get((live, shadow), 0)
        depth = 0.0 if live == shadow else count / most
        colour = "" if not depth else f' style="background:rgba(179,38,30,{0.12 + 0.6 * depth:.2f})"'
        columns.append(f"<td class=m{colour}>{count or ''}</td>")
    return f"<tr><th>{escape(clean(live, 20))}</th>{''.join(columns)}</tr>"


def _latency(one: Section) -> str:
    if not one.latency or one.counters is None:
        return ""
    rows = [("", "live ms", "shadow ms", "ratio")]
    rows += [
        (row.quantile, f"{row.live_ms:.2f}", f"{row.shadow_ms:.2f}", f"{row.ratio:.2f}")
        for row in one.latency
    ]
    paired = one.latency_ratio
    said = (
        f"<p>Pair by pair, {paired.pairs:,} kept pairs: p50 {paired.p50:.2f} ×, p95 {paired.p95:.2f} ×</p>"
        if paired is not None
        else ""
    )
    return _table(rows) + said + _curves(one.counters)


def _curves(counters: ShadowCounters) -> str:
    """Both distributions as cumulative curves over logarithmic time."""
    sides = [("live", counters.live_latency, "#5b8db8"), ("shadow", counters.shadow_latency, "#b3261e")]
    filled = [index for _, counts, _ in sides for index, count in enumerate(counts) if count]
    if not filled:
        return ""
    first, last = max(0, min(filled) - 1), max(filled)
    width, height = 600, 160
    lines = []
    for row, (name, counts, colour) in enumerate(sides):
        points, seen, total = [], 0, sum(counts) or 1
        for index in range(first, last + 1):
            seen += counts[index] if index < len(counts) else 0
            x = 40 + width * (index - first) / max(1, last - first)
            points.append(f"{x:.1f},{10 + height * (1 - seen / total):.1f}")
        lines.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        lines.append(f'<text x="{60 + width}" y="{30 + 18 * row}" style="fill:{colour}">{name}</text>')
    ends = [(40, first), (40 + width, last)]
    for x, index in ends:
        bound = BOUNDS_S[min(index, len(BOUNDS_S) - 1)] * 1000
        lines.append(f'<text x="{x}" y="{height + 28}" text-anchor="middle">{bound:.3g} ms</text>')
    return (
        f'<svg viewBox="0 0 720 {height + 34}" width="720" role="img" aria-label="latency, share answered by then">'
        f'<rect x="40" y="10" width="{width}" height="{height}" fill="#f4f5f7"/>{"".join(lines)}</svg>'
    )


def _measures(one: Section) -> str:
    if not one.measures:
        return ""
    rows = [("measure", "of kept", "pairs", "p50", "p95", "largest")]
    rows += [
        (each.name, each.of, f"{each.pairs:,}", figure(each.p50), figure(each.p95), figure(each.largest))
        for each in one.measures
    ]
    return _table(rows, texts=2)


def _errors(counters: ShadowCounters | None) -> str:
    if counters is None or not (counters.shadow_failed or counters.live_failed or counters.both_failed):
        return ""
    return _table(
        [
            ("", "shadow answered", "shadow failed"),
            ("live answered", f"{counters.pairs:,} compared", f"{counters.shadow_failed:,}"),
            ("live failed", f"{counters.live_failed:,}", f"{counters.both_failed:,}"),
        ]
    )


def _examples(examples: Sequence[ComparisonRecord]) -> str:
    if not examples:
        return ""
    rows = "".join(_example(record) for record in examples)
    head = "<tr><th>request id</th><th>differs</th><th>live</th><th>shadow</th><th>measures</th></tr>"
    return f"<div class=scroll><table>{head}{rows}</table></div>"


def _example(record: ComparisonRecord) -> str:
    what = record.direction or " ".join(record.paths[:3])
    sides = []
    for side in (record.live, record.shadow):
        sure = f" ({figure(side.confidence)})" if side.confidence is not None else ""
        sides.append(f"<td><code>{escape(compact(side.prediction, PAYLOAD_CHARS))}</code>{sure}</td>")
    measures = "<br>".join(
        escape(f"{clean(name, 40)} {figure(value)}") for name, value in shown_measures(record)
    )
    request = (
        "" if record.request is None else f"<br><code>{escape(compact(record.request, PAYLOAD_CHARS))}</code>"
    )
    return (
        f"<tr><td>{escape(clean(record.request_id, 80))}{request}</td>"
        f"<td>{escape(record.verdict)}<br>{escape(clean(what, 120))}</td>{''.join(sides)}<td>{measures}</td></tr>"
    )
