"""The last good plan on disk: what workers, observer and agent start from when nobody else is around."""

from pathlib import Path

import msgspec

from headgate.files import replace_file
from router.core.channel import RUN_FILES, Assignment


class Unreadable(Exception):
    """There is a plan file and it cannot be read, or this release did not write it; the text says what is wrong."""


def load(run: Path) -> Assignment | None:
    """The assignment that was in force when it was last saved; None if none ever was."""
    try:
        content = (run / RUN_FILES.plan).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{run / RUN_FILES.plan}: {error.strerror or error}") from error
    try:
        return msgspec.msgpack.decode(content, type=Assignment)
    except msgspec.DecodeError as error:
        raise Unreadable(f"{run / RUN_FILES.plan}: {error}") from error


def save(run: Path, assignment: Assignment) -> None:
    """Keep it durably; OSError if that is not possible (then the file has what it had before)."""
    replace_file(run / RUN_FILES.plan, msgspec.msgpack.encode(assignment))
