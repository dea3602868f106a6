"""The connection to the agent: plans come in, what this worker runs goes back. Traffic needs neither."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import uniform
from typing import Final

import msgspec

from headgate.log import Log
from router.core.channel import RUN_FILES, Assignment, Frames, Hello, Report, frame

_RETRY_S: Final = 0.05
_RETRY_S_MAX: Final = 2.0
_READ_BYTES: Final = 262_144


def stored_assignment(run: Path, log: Log) -> Assignment | None:
    """The plan that was in force last, or None if there is none that can be read."""
    try:
        return msgspec.msgpack.decode((run / RUN_FILES.plan).read_bytes(), type=Assignment)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("plan file cannot be read, waiting for the agent", file=RUN_FILES.plan, why=error)
        return None


async def follow_agent(path: str, hello: Hello, apply: Callable[[Assignment], Report], log: Log) -> None:
    """Connect, for ever; apply each assignment as it comes and answer it with what runs then."""
    delay = _RETRY_S
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.sleep(delay * uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            delay = min(delay * 2, _RETRY_S_MAX)
            continue
        delay = _RETRY_S
        log.info("agent connected")
        try:
            await _converse(reader, writer, hello, apply)
        except Exception as error:  # noqa: BLE001 - outermost frame: a worker that hears no plans any more is worse
            log.warning("agent said something that cannot be used, connecting again", why=error)
            await asyncio.sleep(_RETRY_S_MAX * uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
        finally:
            writer.close()
        log.info("agent is gone, serving on")


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    hello: Hello,
    apply: Callable[[Assignment], Report],
) -> None:
    frames = Frames(Assignment)
    writer.write(frame(hello))
    while data := await reader.read(_READ_BYTES):
        for message in frames.feed(data):
            if isinstance(message, Assignment):
                writer.write(frame(apply(message)))
        await writer.drain()
