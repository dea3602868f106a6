"""Where the workers count: the layout of the shared file `counters`, one writer's view and everybody's sums.

The contract, for whoever maps the file:

* The supervisor creates it once per boot: `layout(workers)` zero bytes, nothing else. It never shrinks or grows.
* It holds one block per worker. A block is written by that worker alone, so nothing needs a lock; it outlives the
  worker, so its counters never go back within a boot. A restarted worker calls `Block.begin`, which zeroes only what
  died with its predecessor (requests in flight, open connections).
* A block holds a head (state, pid, instants, what the worker runs) and `COLUMNS` columns. The agent gives each
  version identity a column (`Assignment.columns`); the worker writes the identity's tag into the column when it
  first uses it. A column given to another identity is zeroed by each worker as it applies that plan, and a reader
  skips blocks whose tag is not of the identity it asks for, so that nobody's counts are ever taken for another's.
* Every cell is a native uint64, aligned: one store is one write. Only the applied triple is three cells, read under
  a sequence number that is odd while it is written.
* `read_version` sums over blocks into `VersionCounters`; `read_dropped` gives the copies that workers dropped for
  one (live, shadow) pair, to be merged into `ShadowCounters.dropped`; `read_workers` says who runs what.

Pure: the caller maps the file and passes a memoryview (writable for `Block`, any for readers).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from headgate.histogram import BUCKETS
from headgate.wire.plan import NOTHING_APPLIED, Applied
from headgate.wire.telemetry import IN_FLIGHT_AGES_S, Outcomes, VersionCounters

COLUMNS: Final = 32
"""How many version identities a router counts at a time."""

WORKERS_MAX: Final = 64

# The head of a block.
STATE: Final = 0
PID: Final = 1
STARTED_AT_MS: Final = 2
HEARTBEAT_MS: Final = 3
SEQUENCE: Final = 4
EPOCH: Final = 5
GENERATION: Final = 6
ENDPOINTS_REVISION: Final = 7
CONNECTIONS: Final = 8
ACCEPTED: Final = 9
REFUSED: Final = 10
UNSERVED: Final = 11
LOG_DROPPED: Final = 12
_CAUSES_AT: Final = 16
_HEAD_CELLS: Final = 64

CAUSES: Final = (
    *("bad_request_line", "bare_cr_or_lf", "nul", "folded_header", "space_before_colon", "bad_header"),
    *("length_and_encoding", "several_content_length", "bad_content_length"),
    *("several_transfer_encoding", "bad_transfer_encoding", "bad_chunk"),
    *("no_host", "several_host", "bad_host", "bad_target", "target_and_host_differ", "bad_connection"),
    *("incomplete_request", "header_timeout", "request_body_timeout", "expectation_failed"),
    *("header_too_large", "connect_not_proxied", "version_not_supported"),
    *("no_connection", "connection_lost", "bad_answer", "no_plan", "no_endpoint", "overloaded"),
    *("first_byte_timeout", "request_timeout", "body_idle_timeout"),
    *("too_many_connections", "proxy_protocol", "proxy_protocol_sender", "other"),
)
"""Why a worker answered a request itself, or closed a connection on which none had come, in the order of their cells."""

_CAUSE_CELL: Final = {cause: _CAUSES_AT + index for index, cause in enumerate(CAUSES)}

ABSENT: Final = 0
STARTING: Final = 1
SERVING: Final = 2
DRAINING: Final = 3
STOPPED: Final = 4

# One group of outcomes, relative to its start.
REQUESTS: Final = 0
FAILED: Final = 1
STATUS_2XX: Final = 2
STATUS_3XX: Final = 3
STATUS_4XX: Final = 4
STATUS_5XX: Final = 5
NO_CONNECTION: Final = 6
BROKEN: Final = 7
TIMEOUT: Final = 8
CLIENT_CLOSED: Final = 9
LATENCY_US: Final = 10
LATENCY: Final = 11
_OUTCOME_CELLS: Final = LATENCY + BUCKETS

# A column, relative to its start.
TAG: Final = 0
PICKED: Final = 1
MATCHED: Final = PICKED + _OUTCOME_CELLS
SELECTED: Final = MATCHED + _OUTCOME_CELLS
HALF: Final = SELECTED + _OUTCOME_CELLS
OTHER: Final = HALF + _OUTCOME_CELLS
SAVED_BY_STABLE: Final = OTHER + 1
RETRIES: Final = OTHER + 2
EJECTIONS: Final = OTHER + 3
BYTES_IN: Final = OTHER + 4
BYTES_OUT: Final = OTHER + 5
IN_FLIGHT: Final = OTHER + 6
IN_FLIGHT_AGES: Final = OTHER + 7
_DROPPED: Final = IN_FLIGHT_AGES + len(IN_FLIGHT_AGES_S)

WORKER_DROP_REASONS: Final = ("sampled_out", "queue_full", "body_too_large", "client_cancelled", "live_error")
"""Why a worker did not hand over a copy; names of `headgate.wire.telemetry.DROP_REASONS`, in the order of their cells."""
SAMPLED_OUT: Final = 0
QUEUE_FULL: Final = 1
BODY_TOO_LARGE: Final = 2
CLIENT_CANCELLED: Final = 3
LIVE_ERROR: Final = 4

_COLUMN_CELLS: Final = _DROPPED + COLUMNS * len(WORKER_DROP_REASONS)
_PAGE_CELLS: Final = 512
# One column more than there are: requests of an identity that lost its column end there, where nobody reads.
_BLOCK_CELLS: Final = -(-(_HEAD_CELLS + (COLUMNS + 1) * _COLUMN_CELLS) // _PAGE_CELLS) * _PAGE_CELLS
BLOCK_BYTES: Final = _BLOCK_CELLS * 8

_ZEROES: Final = memoryview(bytes(_COLUMN_CELLS * 8)).cast("Q")


def layout(workers: int) -> int:
    """The size in bytes of the file for that many workers, 1 … WORKERS_MAX."""
    if not 1 <= workers <= WORKERS_MAX:
        raise ValueError(f"{workers} workers: 1 … {WORKERS_MAX}")
    return workers * BLOCK_BYTES


def tag_of(identity: str) -> int:
    """What marks a column as this identity's: 64 bits, never 0."""
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "little") | 1


def column_start(column: int) -> int:
    """The cell of a block at which a column begins."""
    return _HEAD_CELLS + column * _COLUMN_CELLS


UNREAD: Final = column_start(COLUMNS)
"""The start of the column that nobody reads."""


def drop_cell(shadow_column: int, reason: int) -> int:
    """The cell of a live version's column that counts copies for one shadow dropped for one reason."""
    return _DROPPED + shadow_column * len(WORKER_DROP_REASONS) + reason


def cause_cell(cause: str) -> int:
    """The cell of a block's head that counts this cause; those that have no name here share `other`."""
    return _CAUSE_CELL.get(cause, _CAUSE_CELL["other"])


class Block:
    """One worker's own block. `cells` is for plain increments: `cells[start + PICKED + REQUESTS] += 1`."""

    __slots__ = ("cells",)

    def __init__(self, buffer: memoryview, index: int) -> None:
        self.cells = _block(buffer, index)

    def begin(self, pid: int, now_ms: int) -> None:
        """Take the block over from a dead predecessor: what it counted stays, what it held is gone."""
        cells = self.cells
        cells[STATE] = STARTING
        cells[PID] = pid
        cells[STARTED_AT_MS] = cells[HEARTBEAT_MS] = now_ms
        cells[CONNECTIONS] = 0
        self.write_applied(NOTHING_APPLIED)
        for column in range(COLUMNS + 1):
            start = column_start(column) + IN_FLIGHT
            cells[start : start + 1 + len(IN_FLIGHT_AGES_S)] = _ZEROES[: 1 + len(IN_FLIGHT_AGES_S)]

    def claim(self, column: int, identity: str) -> tuple[int, bool]:
        """The start of this identity's column, and whether it was another's before (then it is empty now)."""
        if not 0 <= column < COLUMNS:
            raise ValueError(f"column {column} of {identity}: 0 … {COLUMNS - 1}")
        start, tag = column_start(column), tag_of(identity)
        before = self.cells[start + TAG]
        if before == tag:
            return start, False
        self._clear(column)
        self.cells[start + TAG] = tag
        return start, before != 0

    def write_applied(self, applied: Applied) -> None:
        """Say what this worker runs."""
        cells = self.cells
        if cells[SEQUENCE] % 2 == 0:  # odd: the predecessor died while it wrote
            cells[SEQUENCE] += 1
        cells[EPOCH], cells[GENERATION], cells[ENDPOINTS_REVISION] = applied
        cells[SEQUENCE] += 1

    def _clear(self, column: int) -> None:
        cells, start = self.cells, column_start(column)
        cells[start + TAG] = 0
        cells[start : start + _COLUMN_CELLS] = _ZEROES
        reasons = len(WORKER_DROP_REASONS)
        for live in range(COLUMNS):
            dropped = column_start(live) + drop_cell(column, 0)
            cells[dropped : dropped + reasons] = _ZEROES[:reasons]


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker's head: instants are Unix milliseconds; `refused` counts requests that were no valid HTTP.

    `log_dropped` counts lines of the access log that nobody took.
    """

    index: int
    state: int
    pid: int
    started_at_ms: int
    heartbeat_ms: int
    applied: Applied
    connections: int
    accepted: int
    refused: int
    unserved: int
    log_dropped: int = 0

    @property
    def is_live(self) -> bool:
        """Whether it says that it serves (a reader also looks at the heartbeat: the dead do not say so)."""
        return self.state in (SERVING, DRAINING)


def read_workers(buffer: memoryview) -> tuple[WorkerState, ...]:
    """Every block's head, in order of index; `state` is ABSENT where no worker ever began."""
    return tuple(_worker(index, cells) for index, cells in enumerate(_blocks(buffer)))


def read_version(
    buffer: memoryview, column: int, *, version: str, identity: str, attempt: int = 1
) -> VersionCounters:
    """What all workers together counted for one identity in its column."""
    total = [0] * _COLUMN_CELLS
    for cells in _columns(buffer, column, identity):
        total = [a + b for a, b in zip(total, cells, strict=True)]
    return VersionCounters(
        version=version,
        identity=identity,
        attempt=attempt,
        picked=_outcomes(total, PICKED),
        matched=_outcomes(total, MATCHED),
        selected=_outcomes(total, SELECTED),
        half=_outcomes(total, HALF),
        other=total[OTHER],
        saved_by_stable=total[SAVED_BY_STABLE],
        retries=total[RETRIES],
        ejections=total[EJECTIONS],
        bytes_in=total[BYTES_IN],
        bytes_out=total[BYTES_OUT],
        in_flight=total[IN_FLIGHT],
        in_flight_ages=tuple(total[IN_FLIGHT_AGES:_DROPPED]),
    )


def read_failures(buffer: memoryview, column: int, identity: str) -> tuple[int, int]:
    """`(requests, failed)` of what the two splits chose, over all workers: what the guard judges."""
    requests = failed = 0
    for cells in _columns(buffer, column, identity):
        requests += cells[PICKED + REQUESTS] + cells[MATCHED + REQUESTS]
        failed += cells[PICKED + FAILED] + cells[MATCHED + FAILED]
    return requests, failed


def read_causes(buffer: memoryview) -> dict[str, int]:
    """How often workers answered or closed for each of `CAUSES`, over all workers."""
    blocks = list(_blocks(buffer))
    return {cause: sum(cells[cell] for cells in blocks) for cause, cell in _CAUSE_CELL.items()}


def read_seconds(buffer: memoryview, column: int, identity: str) -> float:
    """How long all answers together took, in seconds, of the requests that the split picked the version for."""
    return sum(cells[PICKED + LATENCY_US] for cells in _columns(buffer, column, identity)) / 1e6


def read_dropped(buffer: memoryview, *, live: tuple[int, str], shadow: tuple[int, str]) -> dict[str, int]:
    """Copies that workers dropped for a (live, shadow) pair, each given as `(column, identity)`, by reason; no zeroes."""
    total = [0] * len(WORKER_DROP_REASONS)
    shadow_start, shadow_tag = column_start(shadow[0]), tag_of(shadow[1])
    for block in _blocks(buffer):
        start = column_start(live[0])
        if block[start + TAG] != tag_of(live[1]) or block[shadow_start + TAG] != shadow_tag:
            continue
        first = start + drop_cell(shadow[0], 0)
        total = [a + b for a, b in zip(total, block[first : first + len(total)], strict=True)]
    return {reason: count for reason, count in zip(WORKER_DROP_REASONS, total, strict=True) if count}


def _block(buffer: memoryview, index: int) -> memoryview:
    start = index * BLOCK_BYTES
    if index < 0 or start + BLOCK_BYTES > buffer.nbytes:
        raise ValueError(f"block {index}: the file has {buffer.nbytes // BLOCK_BYTES}")
    return buffer.cast("B")[start : start + BLOCK_BYTES].cast("Q")


def _blocks(buffer: memoryview) -> Iterator[memoryview]:
    return (_block(buffer, index) for index in range(buffer.nbytes // BLOCK_BYTES))


def _columns(buffer: memoryview, column: int, identity: str) -> Iterator[memoryview]:
    """That column of each block in which it is this identity's."""
    start, tag = column_start(column), tag_of(identity)
    for cells in _blocks(buffer):
        if cells[start + TAG] == tag:
            yield cells[start : start + _COLUMN_CELLS]


def _worker(index: int, cells: memoryview) -> WorkerState:
    head = cells[:_HEAD_CELLS]
    return WorkerState(
        index=index,
        state=head[STATE],
        pid=head[PID],
        started_at_ms=head[STARTED_AT_MS],
        heartbeat_ms=head[HEARTBEAT_MS],
        applied=_applied(head),
        connections=head[CONNECTIONS],
        accepted=head[ACCEPTED],
        refused=head[REFUSED],
        unserved=head[UNSERVED],
        log_dropped=head[LOG_DROPPED],
    )


def _applied(head: memoryview) -> Applied:
    """The triple, if it can be read whole; a writer that died half-way runs nothing."""
    for _ in range(1000):
        before = head[SEQUENCE]
        found = Applied(head[EPOCH], head[GENERATION], head[ENDPOINTS_REVISION])
        if before % 2 == 0 and head[SEQUENCE] == before:
            return found
    return NOTHING_APPLIED


def _outcomes(cells: list[int], start: int) -> Outcomes:
    return Outcomes(
        requests=cells[start + REQUESTS],
        failed=cells[start + FAILED],
        status_2xx=cells[start + STATUS_2XX],
        status_3xx=cells[start + STATUS_3XX],
        status_4xx=cells[start + STATUS_4XX],
        status_5xx=cells[start + STATUS_5XX],
        no_connection=cells[start + NO_CONNECTION],
        broken=cells[start + BROKEN],
        timeout=cells[start + TIMEOUT],
        client_closed=cells[start + CLIENT_CLOSED],
        latency=tuple(cells[start + LATENCY : start + _OUTCOME_CELLS]),
    )
