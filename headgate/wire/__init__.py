"""The wire between controller and router: the one definition of every message that crosses it.

Each message is an immutable, bounded `msgspec.Struct`; `codec` turns it into JSON and back and is the only way in.
Names travel in camelCase. `VERSION` counts incompatible changes; a router announces the versions it reads, the
controller answers in one of them, and both sides must keep reading the golden files of two releases back.
"""

from typing import Final

VERSION: Final = 1
"""The wire version this release writes."""

READS: Final[tuple[int, ...]] = (1,)
"""The wire versions this release reads, newest first."""
