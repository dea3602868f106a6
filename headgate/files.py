"""Files that readers see old or new, never half: what processes leave for each other and for later."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, is_durable: bool = True) -> None:
    """Write the file whole or not at all, readable by its owner only: a crash leaves the old content or the new.

    `is_durable`: also a crash of the machine; without, it may leave an older one. OSError if it cannot be written;
    the old content is then untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            if is_durable:
                os.fsync(out.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
