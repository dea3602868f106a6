"""What one sees while the story runs: a line for everything that happens, and below it who answers now."""

import time
from collections import Counter
from pathlib import Path

from command import Seen
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from traffic import Answer, answers_of

WINDOW_S = 2.0
BAR = 16


class Users:
    """Follows the file that traffic.py writes; keeps the answers of the last seconds and the totals."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.offset = 0
        self.recent: list[Answer] = []
        self.totals: Counter[str] = Counter()

    def read(self, now: float) -> None:
        if self.file.exists():
            with self.file.open("rb") as lines:
                lines.seek(self.offset)
                whole = lines.read().rpartition(b"\n")
            self.offset += len(whole[0]) + len(whole[1])
            new = list(answers_of(whole[0].decode().splitlines()))
            self.totals.update(answer.outcome for answer in new)
            self.recent += new
        self.recent = [answer for answer in self.recent if answer.ended >= now - WINDOW_S]


class Screen:
    """Rich's live display; without a terminal only the lines."""

    def __init__(self, versions: dict[str, str], users: Users) -> None:
        self.console = Console(highlight=False)
        self.versions = versions
        self.users = users
        self.seen: Seen | None = None
        self.started = time.monotonic()
        self.live = Live(self, console=self.console, refresh_per_second=4, transient=True)

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.print(Rule(Text(title, style="bold"), align="left"))

    def line(self, text: str, style: str = "") -> None:
        elapsed = time.monotonic() - self.started
        self.console.print(Text.assemble((f"{elapsed:6.1f} s  ", "dim"), (text, style)))

    def change(self, seen: Seen) -> None:
        """A line for every decision, stage and end; the message of the moment stands below the table."""
        before, self.seen = self.seen, seen
        told = before.decisions if before else ()
        news = [decision for decision in seen.decisions if decision not in told]
        for decision in news:
            self.line(decision.sentence, "cyan")
        if seen.candidate and (
            before is None or (before.candidate, before.stage) != (seen.candidate, seen.stage)
        ):
            self.line(f"{seen.candidate}: {seen.stage}", "dim")
        was = before.phase if before else ""
        if seen.phase == "RollingBack" != was and not news:
            self.line(seen.message, "cyan")
        if seen.phase != was and seen.is_at_rest:
            why = f"{seen.stable} serves everything" if was == "RollingBack" else seen.message
            self.line(f"{seen.phase}: {why}", STYLES[seen.phase])

    def __rich__(self) -> RenderableType:
        self.users.read(time.time())
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("", "model", "role", "share of users", "answers/s", "bad/s"):
            table.add_column(column, no_wrap=True, justify="right" if column.endswith("/s") else "left")
        for version, what in self.versions.items():
            table.add_row(version, what, *self._row(version))
        totals = self.users.totals
        count = (
            f"{totals.total()} requests: {totals['ok']} ok, {totals['failed']} failed, {totals['lost']} lost"
        )
        message = f"{self.seen.phase}: {self.seen.message}" if self.seen else ""
        return Group(table, Text(count), Text(message, style="dim"))

    def _row(self, version: str) -> tuple[RenderableType, ...]:
        weight = self.seen.weights.get(version, 0) / 10_000 if self.seen else 0.0
        mine = [answer for answer in self.users.recent if answer.version == version]
        bad = sum(answer.outcome != "ok" for answer in mine)
        bar = Text(f"{'█' * round(BAR * weight)} {100 * weight:.0f} %" if weight else "", style="cyan")
        return self._role(version), bar, rate(len(mine)), Text(rate(bad), style="red")

    def _role(self, version: str) -> str:
        if self.seen is None:
            return ""
        return {self.seen.stable: "stable", self.seen.candidate: "candidate"}.get(version, "")


def rate(count: int) -> str:
    """How many a second, of so many in the window; nothing where there are none."""
    return f"{count / WINDOW_S:.1f}" if count else ""


STYLES = {"Healthy": "green", "RolledBack": "yellow"}
