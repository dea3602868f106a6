"""What a restarted controller must know to take over the model servers that went on without it: one small file.

A start is noted before it happens (with the token its environment will carry) and again after (with its process id
and start time), so that a controller killed between the two finds the process by the token and starts no second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from headgate.files import replace_file
from headgate.log import Log


@dataclass(frozen=True, slots=True)
class Entry:
    """One replica that runs, or is just being started. `port` 0: none (a url); `pid` None: its id is not noted yet.

    `restarts` is the count of asked restarts under which the process was started (see `Workload`).
    """

    key: str
    identity: str
    document: Mapping[str, Any]
    token: str = ""
    port: int = 0
    pid: int | None = None
    started: int | None = None
    is_ready: bool = False
    is_alive: bool = False
    """False while it waits for its next start."""
    number: int = 0
    restarts: int = 0

    @property
    def name(self) -> tuple[str, str, int]:
        """What no two entries share."""
        return self.key, self.identity, self.number


class Ledger:
    """The entries in the file `path`; written whole, by rename."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._entries: dict[tuple[str, str, int], Entry] = {}
        self._is_saved = True

    def load(self) -> tuple[Entry, ...]:
        """What the file says; nothing if there is none, or it cannot be read (it is then kept aside)."""
        try:
            entries = msgspec.json.decode(self._path.read_bytes(), type=list[Entry])
        except FileNotFoundError:
            entries = []
        except msgspec.DecodeError as error:
            aside = self._path.with_suffix(".bad")
            self._path.replace(aside)
            self._log.warning("process list unreadable, kept aside", file=aside, why=error)
            entries = []
        self._entries = {entry.name: entry for entry in entries}
        return tuple(entries)

    def note(self, entry: Entry) -> None:
        """Keep the entry. A file that cannot be written is no reason to stop a model server: the next change tries again."""
        if self._is_saved and self._entries.get(entry.name) == entry:
            return
        self._entries[entry.name] = entry
        self._try_to_save()

    def remove(self, entry: Entry) -> None:
        """Forget it, whatever it said last."""
        if self._entries.pop(entry.name, None) is not None:
            self._try_to_save()

    def _try_to_save(self) -> None:
        try:
            self._save()
        except OSError as error:
            if self._is_saved:
                self._log.warning("process list not written", file=self._path, why=error)
            self._is_saved = False
        else:
            self._is_saved = True

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(self._path, msgspec.json.encode(list(self._entries.values())), is_durable=False)
