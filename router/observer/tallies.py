"""The observer's counters by pairing: kept on disk, so that within one boot they never go back."""

from collections import OrderedDict
from pathlib import Path

import msgspec

from headgate.files import replace_file
from headgate.log import Log
from headgate.wire.telemetry import ShadowCounters
from router.core.sketch import REPORTED_MAX, TALLIES_MAX, Pairing, Snapshot, Tally


class Tallies:
    """One `Tally` for each shadow against each live version, least recently used first."""

    def __init__(self, path: Path, boot: str, log: Log) -> None:
        """Go on from what `path` holds, if that is of this boot."""
        self._path = path
        self._boot = boot
        self._log = log
        self._by_pairing: OrderedDict[Pairing, Tally] = OrderedDict()
        self._has_failed = False
        self._saved: tuple[ShadowCounters, ...] | None = None
        for one in self._before():
            pairing = Pairing(one.shadow, one.shadow_identity, one.live, one.live_identity)
            self._by_pairing[pairing] = Tally(pairing, one)

    def of(self, pairing: Pairing) -> Tally:
        """The counters of this pairing."""
        found = self._by_pairing.get(pairing)
        if found is None:
            found = self._by_pairing[pairing] = Tally(pairing)
            if len(self._by_pairing) > TALLIES_MAX:
                self._by_pairing.popitem(last=False)
        self._by_pairing.move_to_end(pairing)
        return found

    def snapshot(self, rollout: str, at: float) -> Snapshot:
        """Everything counted so far; `at` in Unix seconds."""
        counted = tuple(tally.counters() for tally in self._by_pairing.values())
        return Snapshot(self._boot, at, rollout, counted)

    def save(self, snapshot: Snapshot) -> None:
        """Write the snapshot by rename, if anything was counted since the last. On a full disk the file goes instead.

        A file of before would make a restarted observer report less than was reported already, but not nothing:
        readers would take that for a reset and count it twice. Without a file it begins at nothing, and they are
        right.
        """
        if snapshot.shadows == self._saved:
            return
        try:
            replace_file(self._path, msgspec.json.encode(snapshot))
        except OSError as error:
            self._saved = None
            self._path.unlink(missing_ok=True)
            if not self._has_failed:
                self._log.error("counters are not kept on disk", path=self._path, why=error.strerror or "")
            self._has_failed = True
        else:
            self._has_failed = False
            self._saved = snapshot.shadows

    def _before(self) -> tuple[ShadowCounters, ...]:
        try:
            snapshot = msgspec.json.decode(self._path.read_bytes(), type=Snapshot)
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._log.warning(
                "counters of before cannot be read; counting from nothing", why=str(error)[:200]
            )
            return ()
        return snapshot.shadows if snapshot.boot == self._boot else ()


def reported(snapshot: Snapshot) -> tuple[ShadowCounters, ...]:
    """What of a snapshot goes to the agent: the pairings used last, as many as a report holds."""
    return snapshot.shadows[-REPORTED_MAX:]
