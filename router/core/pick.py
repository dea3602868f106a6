"""Which version gets a request: from what identifies the user to a slot, and from the slot to its owner.

A user keeps one place among the slots as long as the salt stays, and slots change hands only between stable and the
version whose weight changes. So a raised weight moves users from stable to that version, a lowered one only back.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from headgate.wire.plan import SLOTS, IdentityKey, RoutePlan, SlotRange

IdentityReader = Callable[[Mapping[bytes, bytes], bytes], bytes | None]
"""From headers (lower-case names) and the request target to the user's key, or None where there is none."""


def hash_of(salt: bytes, key: bytes) -> int:
    """64 uniform bits that nobody can predict without the salt (1 … 64 bytes); the same in every router."""
    return int.from_bytes(blake2b(key, digest_size=8, key=salt).digest(), "little")


def slot_of(hashed: int) -> int:
    """The slot, 0 … 9,999, of 64 hashed or random bits."""
    return hashed % SLOTS


def is_in_first_half(hashed: int) -> bool:
    """One bit that is independent of the slot: the halves of an A/A comparison."""
    return hashed >> 63 == 0


def owners(plan: RoutePlan, tripped: Iterable[str] = (), slots: tuple[SlotRange, ...] = ()) -> bytes:
    """For each slot the index of its owner in `plan.versions`; slots of tripped versions are stable's.

    `slots` is another table than the plan's own, such as that of its `match`.
    """
    names = [version.name for version in plan.versions]
    moved = set(tripped)
    table = bytearray()
    for owned in slots or plan.slots:
        owner = plan.stable if owned.version in moved else owned.version
        table += bytes([names.index(owner)]) * (owned.end - owned.start)
    return bytes(table)


def sample_bits(salt: bytes, request_id: bytes) -> int:
    """128 uniform bits of a request, the same wherever it passes: 32 for each of up to four shadows."""
    return int.from_bytes(blake2b(request_id, digest_size=16, key=salt, person=b"shadow").digest(), "little")


def is_sampled(bits: int, shadow: int, parts_per_million: int) -> bool:
    """Whether the request with these `sample_bits` is copied to the shadow of that index, 0 … 3."""
    return ((bits >> 32 * shadow & 0xFFFFFFFF) * 1_000_000 >> 32) < parts_per_million


def path_matcher(globs: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Whether a path (without its query) is one of those that count; `*` matches anything, no globs match all."""
    if not globs:
        return lambda path: True
    parts = (b".*".join(re.escape(part.encode()) for part in glob.split("*")) for glob in globs)
    pattern = re.compile(b"|".join(parts), re.DOTALL)
    return lambda path: pattern.fullmatch(path) is not None


def identity_reader(key: IdentityKey) -> IdentityReader:
    """Reads the user's key from a request: the first source that holds a value, however long, wins."""
    readers = tuple(_reader(*source.split(":", 1)) for source in key.sources)

    def read(headers: Mapping[bytes, bytes], target: bytes) -> bytes | None:
        for reader in readers:
            found = reader(headers, target)
            if found:
                return found
        return None

    return read


def cookie_reader(name: str) -> Callable[[Mapping[bytes, bytes]], bytes | None]:
    """Reads the first cookie of that name, without quotes and spaces around it; None where there is none."""
    cookie = re.compile(rb'(?:^|;)[ \t]*%s="?([^;"]*)' % re.escape(name.encode()))
    return lambda headers: _first(cookie, headers.get(b"cookie", b""))


def _reader(kind: str, name: str) -> IdentityReader:
    if kind == "header":
        lower = name.lower().encode()
        return lambda headers, target: headers.get(lower)
    if kind == "cookie":
        read = cookie_reader(name)
        return lambda headers, target: read(headers)
    query = re.compile(rb"[?&]%s=([^&#]*)" % re.escape(name.encode()))
    return lambda headers, target: _first(query, target, decoded=True)


def _first(pattern: re.Pattern[bytes], text: bytes, *, decoded: bool = False) -> bytes | None:
    found = pattern.search(text)
    if found is None:
        return None
    return unquote_to_bytes(found[1].replace(b"+", b" ")) if decoded else found[1].strip()
