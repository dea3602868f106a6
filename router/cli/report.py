"""`headgate report`: what shadow and live version said, from what the routers' observers left on disk."""

import dataclasses
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from router.cli.reporting import page, text
from router.cli.reporting.read import Pair, Read, Wanted, below, read
from router.core.report import Gathered, Section, section
from router.core.sketch import Pairing

STATE: Final = ".headgate"


class _ShareType(click.ParamType[float]):
    """A share of pairs: `1%`, or 0.01."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            found = float(value.removesuffix("%")) / 100 if value.endswith("%") else float(value)
        except ValueError:
            found = -1.0
        if not 0 < found < 1:
            self.fail(f"{value!r} is no share between 0 and 1; write 1% or 0.01", param, ctx)
        return found


@click.command
@click.argument("name", required=False)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="HEADGATE_STATE",
    help=f"The state folder of `headgate up`; every router's records below it are read. [default: {STATE}]",
)
@click.option(
    "--records",
    type=click.Path(path_type=Path, file_okay=False),
    help="One folder of records, or a router's run directory, instead of --state.",
)
@click.option("--shadow", metavar="VERSION", help="Only this shadow.")
@click.option("--live", metavar="VERSION", help="Only against this live version.")
@click.option("--max", "bound", type=_ShareType(), help="The share of disagreement you tolerate, such as 1%.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "html"]), default="text", help="How to show it."
)
def report(
    name: str | None,
    state: Path | None,
    records: Path | None,
    shadow: str | None,
    live: str | None,
    bound: float | None,
    output: str,
) -> int:
    """Show what a shadow said differently from the live version.

    NAME is a rollout (`fraud` or `ml/fraud`); without it, every rollout that is found.

    \b
      headgate report fraud                          the rollout of `headgate up` in this folder
      headgate report fraud --max 1%                 and whether at most 1 % disagree
      headgate report fraud -o html > fraud.html     one page to send around: no scripts, nothing loaded
      headgate report --records /tmp/records         records copied from somewhere
      headgate report fraud -o json | jq '.sections[0].slices[0]'

    Shares of agreement are computed from counters of every compared pair and come with a 99 % interval. Of the
    pairs that agree only a sample is kept as records; measures and examples are of those kept. The report is a
    look at this instant: a rollout's own checks decide, with tests that may be looked at all the time.

    Exit codes: 0 shown, 1 nothing found or wrong usage.
    """
    folder = records or state or Path(STATE)
    if not folder.is_dir():
        raise click.ClickException(f"{folder}: no such folder; name one with --state or --records")
    found = read(below(folder), Wanted(name, shadow, live))
    if not found.pairs:
        raise click.ClickException(_nothing(folder, name, found))
    sections = [_section(pair, found, bound) for pair in found.pairs]
    click.echo(_SHOWN[output](sections, found))
    return 0


def _section(pair: Pair, found: Read, bound: float | None) -> Section:
    gathered = found.gathered.get(pair, Gathered())
    pairing = Pairing(pair.shadow, pair.shadow_identity, pair.live, pair.live_identity)
    return section(pair.rollout, pairing, found.counters.get(pair), gathered, bound)


def _nothing(folder: Path, name: str | None, found: Read) -> str:
    whose = f"of rollout {name} " if name else ""
    read_anything = f"; {found.lines} lines in {found.files} files were read" if found.files else ""
    notes = "".join(f"\n{note}" for note in warnings(found))
    return (
        f"{folder}: nothing {whose}was compared and left here{read_anything}. A rollout compares while it is in a "
        f"shadow stage; `headgate get` shows where it is.{notes}"
    )


def warnings(found: Read) -> list[str]:
    """What the reader must know about the files themselves."""
    said = list(found.notes)
    if found.bad_lines:
        where = "; ".join(f"{path}: {', '.join(lines)}" for path, lines in sorted(found.bad.items())[:5])
        said.append(f"{found.bad_lines} of {found.lines} lines could not be read and are left out ({where}).")
    return said


def _as_text(sections: list[Section], found: Read) -> str:
    parts = [text.render(one) for one in sections]
    return "\n\n".join([*parts, *(f"Note: {warning}" for warning in warnings(found))])


def _as_json(sections: list[Section], found: Read) -> str:
    whole = {
        "sections": [_data(one) for one in sections],
        "linesRead": found.lines,
        "linesBad": found.bad_lines,
        "notes": warnings(found),
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()


def _as_html(sections: list[Section], found: Read) -> str:
    return page.render(sections, warnings(found))


def _data(value: Any) -> Any:
    """A report's values as plain data, its fields in camelCase as on the wire."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {_camel(field.name): _data(getattr(value, field.name)) for field in fields}
    return [_data(one) for one in value] if isinstance(value, tuple) else msgspec.to_builtins(value)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


_SHOWN: Final = {"text": _as_text, "json": _as_json, "html": _as_html}
