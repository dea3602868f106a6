"""The newest requests of a rollout's own comparison records, as its router's observer keeps them on this machine."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from controller.core.spec import WarmRequest, Warmup

READ_BYTES_MAX: Final = 32 * 1024 * 1024
"""So much of the record log is read at most, from its end."""


class _Side(msgspec.Struct, frozen=True):
    status: int = 0


class _Kept(msgspec.Struct, frozen=True):
    """What matters here of a `ComparisonRecord`."""

    live: _Side = _Side()
    request: Any = None


_DECODER: Final = msgspec.json.Decoder(_Kept)


NONE_YET: Final = "no request of this rollout is recorded yet, so there is nothing to send"


async def recorded_in(folder: Path, warmup: Warmup) -> tuple[WarmRequest, ...] | str:
    """As a `Source`: those in the log in `folder`, read in a thread."""
    return await asyncio.to_thread(recorded, folder, warmup) or NONE_YET


def recorded(folder: Path, warmup: Warmup) -> tuple[WarmRequest, ...]:
    """The newest `count` requests in the log in `folder` that the live version answered with 2xx, newest first.

    None of them are there, or the folder is not: empty. Lines that are cut off or broken are passed over.
    """
    found: list[WarmRequest] = []
    for line in _newest_lines(folder):
        try:
            kept = _DECODER.decode(line)
        except (msgspec.DecodeError, RecursionError):
            continue
        if kept.request is not None and 200 <= kept.live.status < 300:
            found.append(WarmRequest(warmup.recorded_path, msgspec.json.encode(kept.request)))
            if len(found) == warmup.count:
                break
    return tuple(found)


def _newest_lines(folder: Path) -> Iterator[bytes]:
    left = READ_BYTES_MAX
    for path in sorted(folder.glob("records-*.jsonl"), reverse=True):
        if left <= 0:
            return
        try:
            content = _tail(path, left)
        except OSError:
            continue  # its place was needed for newer ones
        left -= len(content)
        yield from reversed(content.splitlines())


def _tail(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - bytes_max, 0))
        return file.read(bytes_max)
