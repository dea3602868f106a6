"""Rollouts as tables and pages for people."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from controller.cli.lines import brief, step_lines
from controller.cli.output import clock, stamp, weight

Json = dict[str, Any]

PHASE_STYLES: Final = {
    "Healthy": "green",
    "Progressing": "cyan",
    "Paused": "yellow",
    "RollingBack": "bold red",
    "RolledBack": "red",
    "Stalled": "bold red",
}
VERDICT_STYLES: Final = {"Pass": "green", "Fail": "bold red", "Inconclusive": "yellow"}

COLUMNS: Final = (
    "NAME",
    "STRATEGY",
    "PHASE",
    "STAGE",
    "WEIGHT",
    "STABLE",
    "CANDIDATE",
    "VERDICT",
    "WAITING-FOR",
)
EFFECTS_SHOWN: Final = 8
"""So many of the latest hooks and notifications are on the page; `-o json` has all that are kept."""

SYNCED: Final = {
    True: ("present plan", "green"),
    False: ("not the present plan", "yellow"),
    None: ("known to the controller only", "dim"),
}
WIDE_COLUMNS: Final = (*COLUMNS[:-1], "SAMPLES", "NEXT", "WAITING-FOR")


def rollouts(items: Sequence[Json], *, is_wide: bool = False) -> Table:
    """One line a rollout."""
    table = plain(*(WIDE_COLUMNS if is_wide else COLUMNS))
    for item in items:
        phase = item["status"]["phase"]
        style = PHASE_STYLES.get(phase, "")
        cells = [Text(cell, style if cell == phase else "") for cell in row(item, is_wide=is_wide)]
        table.add_row(*cells)
    return table


def row(item: Json, *, is_wide: bool = False) -> tuple[str, ...]:
    """The cells of one rollout, in the order of the columns."""
    status, stage = item["status"], item["status"]["stage"]
    first = (
        item["name"] if item["namespace"] == "default" else f"{item['namespace']}/{item['name']}",
        (item["spec"] or {}).get("strategy") or "-",
        status["phase"],
        f"{stage['index']}/{stage['of']} {stage['title']}" if stage else "-",
        weight(status["weights"]) if status["candidateVersion"] else "-",
        status["stableVersion"] or "-",
        _on_trial(status),
        status["verdict"] or "-",
    )
    samples = "-" if status["samples"] is None else str(status["samples"])
    more = (samples, clock(status["nextActionAt"])) if is_wide else ()
    return (*first, *more, brief(status["waitingFor"] or "-"))


def _on_trial(status: Json) -> str:
    """The candidate and who takes part beside it: `v8`, `v8+v9`."""
    return "+".join([status["candidateVersion"] or "-", *status["rivals"]])


def plain(*columns: str) -> Table:
    """A table without lines, as kubectl prints them; the last column may fold."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index < len(columns) - 1, overflow="fold")
    return table


def page(shown: Json) -> RenderableType:
    """All that one wants to know of a rollout at a glance."""
    status = shown["status"]
    parts: list[RenderableType] = [_headline(shown), Text(f"  {status['message']}")]
    parts.append(_indented(_facts(shown)))
    for title, items, section in (
        ("Versions", status["versions"], _versions),
        ("Checks", status["checks"], _checks),
        ("Hooks and notifications", status["effects"][-EFFECTS_SHOWN:], _effects),
        ("Routers", shown["routers"], _routers),
        ("Last decisions", shown["decisions"], _last_decisions),
    ):
        if items:
            parts += [Text(""), Text(title, "bold"), _indented(section(items))]
    ahead = step_lines(shown["forecast"]) if status["candidateVersion"] and "forecast" in shown else []
    if ahead:
        parts += [Text(""), Text("Forecast", "bold"), _indented(Text("\n".join(ahead)))]
    return Group(*parts)


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, 2), expand=False)


def events(items: Sequence[Json]) -> Table:
    """Events, in the order given."""
    table = plain("AT", "REASON", "MESSAGE")
    for item in items:
        table.add_row(stamp(item["at"]), item["reason"], Text(item["message"]))
    return table


def decisions(items: Sequence[Json]) -> Table:
    """Decision records, in the order given: the plan's number behind the epoch's; below the sentence the evidence, and
    what was missing for the next step."""
    table = plain("AT", "REASON", "VERSION", "WEIGHT", "BY", "PLAN", "WHY")
    for item in items:
        known = (f"{_about(one)}: {one['text']}{_window(one)}" for one in item["checks"])
        why = "\n".join([item["sentence"], *known, *(f"then missing: {what}" for what in item["unmet"])])
        table.add_row(
            stamp(item["at"]),
            item["reason"],
            item["version"],
            _change(item),
            item["actor"] or "controller",
            f"{item['epoch']}.{item['generation']}",
            Text(why),
        )
    return table


def _last_decisions(items: Sequence[Json]) -> Table:
    """Decisions in few columns; the sentence says by whom."""
    table = plain("AT", "VERSION", "WEIGHT", "WHY")
    for item in items:
        table.add_row(clock(item["at"]), item["version"], _change(item), Text(item["sentence"]))
    return table


def _change(item: Json) -> str:
    return f"{item['weightBefore']['percent']} → {item['weightAfter']['percent']}"


def _headline(shown: Json) -> Text:
    status = shown["status"]
    line = Text.assemble(
        (f"{shown['namespace']}/{shown['name']}", "bold"),
        "  ",
        (status["phase"], PHASE_STYLES.get(status["phase"], "")),
    )
    stage = status["stage"]
    if stage:
        line.append(f"  stage {stage['index']}/{stage['of']}: {stage['title']}")
    if shown["deleting"]:
        line.append("  being deleted", "yellow")
    return line


def _facts(shown: Json) -> Table:
    """Target, steps, weight and pause, a line each."""
    status, spec = shown["status"], shown["spec"]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    if spec:
        table.add_row("target", spec["target"])
        table.add_row("steps", " → ".join(spec["steps"]))
    if status["weights"]:
        what = "weight" if status["candidateVersion"] else "leaving"
        table.add_row(what, f"{status['weights']['version']} {_weight_words(status['weights'])}")
    if status["paused"]:
        paused = status["paused"]
        table.add_row(
            "paused",
            f"by {paused['by']} at {clock(paused['at'])}" + f": {paused['reason']}" * bool(paused["reason"]),
        )
    return table


def _weight_words(weights: Json) -> str:
    """Desired and acknowledged in words."""
    acknowledged = weights["acknowledged"]
    low, high, unknown = acknowledged["low"], acknowledged["high"], acknowledged["unknown"]
    text = f"{weights['desired']['percent']} desired"
    if low is not None:
        span = low["percent"] if low == high else f"{low['percent']} to {high['percent']}"
        text += f", {span} acknowledged"
    if unknown:
        text += f", not known of {', '.join(unknown[:8])}"
    if low is None and not unknown:
        text += ", no router yet"
    return text


def _versions(items: Sequence[Json]) -> Table:
    table = plain("VERSION", "ROLE", "WEIGHT", "")
    for item in items:
        note = Text("failed: not tried again until `headgate retry`", "red") if item["failed"] else Text("")
        table.add_row(item["name"], item["role"] or "-", item["weight"]["percent"], note)
    return table


def _checks(items: Sequence[Json]) -> Group:
    """The figures of every check as a table, and below it what each says in a line."""
    table = plain("CHECK", "VERDICT", "CANDIDATE", "STABLE", "DIFFERENCE", "TOLERATED", "SAMPLES")
    for item in items:
        verdict = Text(item["verdict"], VERDICT_STYLES.get(item["verdict"], ""))
        if item["dryRun"]:
            verdict.append(" (dry run)", "dim")
        table.add_row(
            _about(item),
            verdict,
            _ratio(item["estimate"]),
            _ratio(item["reference"]),
            _interval(item["interval"]),
            _points(item["tolerated"]),
            str(item["samples"]),
        )
    return Group(table, *(Text(f"{_about(item)}: {item['text']}", "dim") for item in items))


def _about(item: Json) -> str:
    """The check, with the version behind it where that is not the candidate."""
    return f"{item['name']} ({item['rival']})" if item["rival"] else str(item["name"])


def _effects(items: Sequence[Json]) -> Table:
    """Whom the rollout asked or told lately, and what became of it."""
    table = plain("NAME", "WHEN", "STATE", "")
    for item in items:
        style = {"succeeded": "green", "failed": "red"}.get(item["state"], "yellow")
        table.add_row(item["name"], item["type"], Text(item["state"], style), Text(item["message"] or ""))
    return table


def _window(item: Json) -> str:
    """Over how much time of its step a check had counted."""
    return f" [{item['windowSeconds']:.0f} s]" if item["windowSeconds"] else ""


def _routers(items: Sequence[Json]) -> Table:
    table = plain("ROUTER", "RUNS", "CANDIDATE", "HEARD", "")
    for item in items:
        heard = "never" if item["ageSeconds"] is None else f"{item['ageSeconds']:.0f} s ago"
        heard = "-" if item["silent"] is None else heard
        share = item["candidateWeight"]["percent"] if item["candidateWeight"] else "-"
        table.add_row(item["id"], item["applied"] or "-", share, heard, _router_notes(item))
    return table


def _router_notes(item: Json) -> Text:
    notes = [SYNCED[item["synced"]]]
    if item["silent"]:
        notes.append(("silent", "red"))
    if item["error"]:
        notes.append((f"refused: {item['error']}", "red"))
    if item["pinned"]:
        notes.append((f"pinned to {item['pinned']}", "yellow"))
    notes += [(f"guard: {trip}", "red") for trip in item["trips"]]
    return Text(", ").join(Text(text, style) for text, style in notes)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.2f}%"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:+.2f}pp"


def _interval(interval: Json) -> str:
    """The bounds of the difference, one-sided where only one is known."""
    low, high = interval["low"], interval["high"]
    if low is None and high is None:
        return "-"
    left = "-∞" if low is None else f"{low * 100:+.2f}"
    right = "+∞" if high is None else f"{high * 100:+.2f}"
    return f"[{left}, {right}]pp"
