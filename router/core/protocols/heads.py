"""Raw header lines, read once: names in lower case, values as they came."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Head:
    """The header fields of one message, in order."""

    fields: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def parse(cls, raw: bytes) -> "Head":
        """The fields in lines separated by CRLF; a line without a colon is passed over."""
        return cls(tuple(_fields(raw)))

    def text(self, name: str) -> str:
        """The first value of that name (lower case) as text, stripped; empty if there is none."""
        wanted = name.encode()
        return next((value.decode("latin-1") for field, value in self.fields if field == wanted), "")


def _fields(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in raw.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name:
            yield name.strip().lower(), value.strip()
