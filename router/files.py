"""Files that readers see old or new, never half: what the router's processes leave for each other and for later."""

import os
from pathlib import Path

from router.core.channel import RUN_FILES


def replace_file(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, durably: a crash at any instant leaves the old content or the new.

    OSError if it cannot be written; the old content is then untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_pin(run: Path, before: str | None) -> str | None:
    """The version that a person pinned on the router of this run directory; None if there is none.

    A pin file that cannot be read (no descriptor left, a damaged disk, not text) leaves the pin as it was `before`.
    """
    try:
        return (run / RUN_FILES.pin).read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return before
