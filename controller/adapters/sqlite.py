"""The store of local mode: one SQLite file, one writer, and nothing lost whenever the process dies.

WAL with `synchronous=FULL`: a commit is on the disk before the method returns, because a router may act on what was
recorded an instant later, and a share that grew without its record breaks I5 after a power cut (`NORMAL` would be
enough for `kill -9` alone). Steady state writes nothing, so the price is a few fsyncs for each decision.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from controller.core.checks import CheckResult
from controller.core.status import Action, ActionResult, DecisionRecord, Event, Status
from controller.errors import StoreInUse, StoreUnavailable, StoreUnreadable
from controller.ports import Recorded, Stored

APPLICATION_ID: Final = 0x68656164
"""`head`: tells our file from any other SQLite file."""
ROWS_MAX: Final = 1_000
"""Records, events and decided actions kept for each rollout; older ones go."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE rollouts (
            key TEXT PRIMARY KEY, document TEXT NOT NULL, generation INTEGER NOT NULL, status BLOB NOT NULL,
            analysis BLOB NOT NULL, results BLOB NOT NULL, deleting INTEGER NOT NULL DEFAULT 0)""",
        """CREATE TABLE actions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL, body BLOB NOT NULL,
            accepted INTEGER, message TEXT NOT NULL DEFAULT '')""",
        "CREATE INDEX actions_by_key ON actions (key, seq)",
        "CREATE TABLE records (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX records_by_key ON records (key, seq)",
        "CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX events_by_key ON events (key, seq)",
        "CREATE TABLE members (key TEXT NOT NULL, router TEXT NOT NULL, PRIMARY KEY (key, router)) WITHOUT ROWID",
    ),
    (
        """CREATE TABLE past (key TEXT PRIMARY KEY, generation INTEGER NOT NULL, plan_generation INTEGER NOT NULL)
            WITHOUT ROWID""",
    ),
)
"""What takes a file from one schema version (`user_version`, counted from 0) to the next."""

_PRUNE: Final = {
    "records": """DELETE FROM records WHERE key = ?1 AND seq <=
        (SELECT seq FROM records WHERE key = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)""",
    "events": """DELETE FROM events WHERE key = ?1 AND seq <=
        (SELECT seq FROM events WHERE key = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)""",
    "actions": """DELETE FROM actions WHERE key = ?1 AND accepted IS NOT NULL AND seq <=
        (SELECT seq FROM actions WHERE key = ?1 AND accepted IS NOT NULL ORDER BY seq DESC LIMIT 1 OFFSET ?2)""",
}

_Value = TypeVar("_Value")


class _Numbered(msgspec.Struct):
    """The one field of a stored Status that outlives its rollout."""

    generation: int = 0


class SqliteStore:
    """The `Store` in the file `path`. Safe to call from several threads; calls take their turn.

    Raises StoreInUse if another process has it, StoreUnreadable if the file is damaged or of a newer release (it is
    then left as it is), StoreUnavailable when it cannot be read or written now; each method is one transaction, so
    what it was about to write is then not there at all.
    """

    def __init__(self, path: Path, *, rows_max: int = ROWS_MAX) -> None:
        self._path = path
        self._rows_max = rows_max
        self._turn = threading.RLock()
        self._lock = _acquire(path)
        try:
            self._db = _open(path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let the next controller have the file."""
        with self._turn:
            self._db.close()
            os.close(self._lock)

    async def acquire_epoch(self, at_least: int) -> int:
        with self._transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
            epoch = 1 + max(0 if row is None else int(row[0]), at_least)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
        return epoch

    def keys(self) -> tuple[str, ...]:
        return tuple(row[0] for row in self._select("SELECT key FROM rollouts ORDER BY key"))

    def load(self, key: str) -> Stored | None:
        rows = self._select(
            "SELECT document, generation, status, analysis, results, deleting FROM rollouts WHERE key = ?",
            key,
        )
        return self._stored(key, rows[0]) if rows else None

    async def put_document(self, key: str, document: Mapping[str, Any]) -> Stored:
        text = _text(document)
        with self._transaction() as db:
            row = db.execute("SELECT document FROM rollouts WHERE key = ?", (key,)).fetchone()
            if row is None:
                _create(db, key, text)
            elif json.loads(row[0]) != json.loads(text):
                _change(db, key, text)
        stored = self.load(key)
        if stored is None:
            raise StoreUnavailable(f"{self._path}: rollout {key} was deleted while it was written; try again")
        return stored

    async def mark_deleting(self, key: str) -> bool:
        with self._transaction() as db:
            return db.execute("UPDATE rollouts SET deleting = 1 WHERE key = ?", (key,)).rowcount > 0

    async def delete(self, key: str) -> None:
        with self._transaction() as db:
            row = db.execute("SELECT generation, status FROM rollouts WHERE key = ?", (key,)).fetchone()
            if row is not None:
                db.execute(
                    "INSERT OR REPLACE INTO past VALUES (?, ?, ?)", (key, row[0], _plan_generation(row[1]))
                )
            for statement in (
                "DELETE FROM rollouts WHERE key = ?",
                "DELETE FROM actions WHERE key = ?",
                "DELETE FROM records WHERE key = ?",
                "DELETE FROM events WHERE key = ?",
                "DELETE FROM members WHERE key = ?",
            ):
                db.execute(statement, (key,))

    async def record(self, key: str, recorded: Recorded) -> None:
        decision = recorded.decision
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE rollouts SET status = ?, analysis = ?, results = ? WHERE key = ?",
                (_encode(decision.status), recorded.analysis, _encode(recorded.results), key),
            ).rowcount
            if not changed:
                raise KeyError(key)
            if recorded.document is not None:
                _change(db, key, _text(recorded.document))
            _append(db, "INSERT INTO records (key, body) VALUES (?, ?)", key, decision.records)
            _append(db, "INSERT INTO events (key, body) VALUES (?, ?)", key, decision.events)
            for result in decision.actions:
                _decide(db, result)
            for table, written in (
                ("records", decision.records),
                ("events", decision.events),
                ("actions", decision.actions),
            ):
                if written:
                    db.execute(_PRUNE[table], (key, self._rows_max))

    async def add_action(self, key: str, action: Action) -> None:
        with self._transaction() as db:
            row = db.execute("SELECT key FROM actions WHERE id = ?", (action.id,)).fetchone()
            if row is not None and row[0] != key:
                raise ValueError(f"action {action.id} is of {row[0]}: give this one an id of its own")
            db.execute(
                "INSERT OR IGNORE INTO actions (id, key, body) VALUES (?, ?, ?)",
                (action.id, key, _encode(action)),
            )

    def pending_actions(self, key: str) -> tuple[Action, ...]:
        rows = self._select("SELECT body FROM actions WHERE key = ? AND accepted IS NULL ORDER BY seq", key)
        return tuple(self._decoded(row[0], Action, "an action", key) for row in rows)

    def action_result(self, action_id: str) -> tuple[bool, str] | None:
        rows = self._select("SELECT accepted, message FROM actions WHERE id = ?", action_id)
        return None if not rows or rows[0][0] is None else (bool(rows[0][0]), rows[0][1])

    def records(self, key: str, limit: int) -> tuple[DecisionRecord, ...]:
        rows = self._select("SELECT body FROM records WHERE key = ? ORDER BY seq DESC LIMIT ?", key, limit)
        return tuple(self._decoded(row[0], DecisionRecord, "a record", key) for row in rows)

    def events(self, key: str, limit: int) -> tuple[Event, ...]:
        rows = self._select("SELECT body FROM events WHERE key = ? ORDER BY seq DESC LIMIT ?", key, limit)
        return tuple(self._decoded(row[0], Event, "an event", key) for row in rows)

    def members(self, key: str) -> tuple[str, ...]:
        return tuple(
            row[0] for row in self._select("SELECT router FROM members WHERE key = ? ORDER BY router", key)
        )

    async def add_member(self, key: str, router: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (key, router))

    async def forget_member(self, key: str, router: str) -> bool:
        with self._transaction() as db:
            found = db.execute("DELETE FROM members WHERE key = ? AND router = ?", (key, router))
            return found.rowcount > 0

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it on the disk, or none of it."""
        with self._turn, _translated(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has already rolled back
                    self._db.execute("ROLLBACK")
                raise

    def _select(self, query: str, *values: str | int) -> list[Any]:
        with self._turn, _translated(self._path):
            return self._db.execute(query, values).fetchall()

    def _stored(self, key: str, row: Any) -> Stored:
        document, generation, status, analysis, results, deleting = row
        return Stored(
            key=key,
            document=json.loads(document),
            generation=generation,
            status=self._decoded(status, Status, "the status", key),
            analysis=bytes(analysis),
            results=self._decoded(results, tuple[CheckResult, ...], "the results", key),
            deleting=bool(deleting),
        )

    def _decoded(self, body: bytes, kind: Callable[..., _Value], what: str, key: str) -> _Value:
        """Fields that a later release wrote are passed over, fields that it will add have their defaults."""
        try:
            value: _Value = msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise StoreUnreadable(
                f"{self._path}: {what} of rollout {key} cannot be read ({error}); delete that rollout and apply it "
                "again, or go back to the release that wrote it"
            ) from error
        return value


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)


def _create(db: sqlite3.Connection, key: str, document: str) -> None:
    """A new rollout. One that was deleted before goes on with its numbers, or routers that still run its last plan
    would refuse the new one as older."""
    row = db.execute("SELECT generation, plan_generation FROM past WHERE key = ?", (key,)).fetchone()
    generation, plan_generation = (0, 0) if row is None else row
    db.execute(
        "INSERT INTO rollouts VALUES (?, ?, ?, ?, ?, ?, 0)",
        (key, document, generation + 1, _encode(Status(generation=plan_generation)), b"", _encode(())),
    )


def _plan_generation(status: bytes) -> int:
    try:
        return msgspec.json.decode(status, type=_Numbered).generation
    except msgspec.DecodeError:
        return 0  # deleting is the way out of a status that cannot be read


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _change(db: sqlite3.Connection, key: str, text: str) -> None:
    db.execute("UPDATE rollouts SET document = ?, generation = generation + 1 WHERE key = ?", (text, key))


def _append(db: sqlite3.Connection, statement: str, key: str, values: tuple[object, ...]) -> None:
    db.executemany(statement, [(key, _encode(value)) for value in values])


def _decide(db: sqlite3.Connection, result: ActionResult) -> None:
    db.execute(
        "UPDATE actions SET accepted = ?, message = ? WHERE id = ?",
        (int(result.is_accepted), result.message, result.id),
    )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, so that no caller needs to know SQLite."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; a closed database has none
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StoreUnreadable(_damaged(path, str(error))) from error
        raise StoreUnavailable(f"{path}: {error}; nothing was written, it is tried again") from error


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path} is damaged ({' '.join(why.split())}) and was left as it is; restore it from a copy, or move it away together with "
        f"{path.name}-wal and {path.name}-shm and apply the rollouts again: routers keep serving their last plan meanwhile"
    )


def _acquire(path: Path) -> int:
    """The lock file beside the store, locked for as long as its descriptor lives; it holds our process id."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}; make its folder writable, or choose another"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise StoreInUse(
            f"{path} is in use by another controller (process {owner}): stop it, or use another state folder"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _open(path: Path) -> sqlite3.Connection:
    with _translated(path):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnavailable(
                f"{path}: {error.strerror}; make it writable, or choose another"
            ) from error
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
        return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Check that the file is sound and ours before anything is written to it, then bring its schema up to date."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    owner = int(db.execute("PRAGMA application_id").fetchone()[0])
    if owner != APPLICATION_ID and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreUnreadable(
            f"{path} is another program's database and was left as it is; choose another file"
        )
    if version > len(MIGRATIONS):
        raise StoreUnreadable(
            f"{path} was written by a newer release (schema {version}, this one reads up to {len(MIGRATIONS)}) and was "
            "left as it is; run that release"
        )
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreUnreadable(_damaged(path, found))
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "trusted_schema = OFF",
        "journal_size_limit = 4194304",
    ):
        db.execute(f"PRAGMA {pragma}")
    _migrate(db, version)


def _migrate(db: sqlite3.Connection, version: int) -> None:
    for reached, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {reached}")
        db.execute("COMMIT")
