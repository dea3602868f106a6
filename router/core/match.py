"""Which requests a plan's `match` is for: its conditions made into comparisons of bytes, once for each plan.

A header that came several times fulfils a condition if any of its lines does; a line is taken whole, never split at
commas. Of cookies with the same name the first counts, as it does for the identity.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce

from headgate.wire.plan import Condition
from router.core.pick import cookie_reader

Repeated = Mapping[bytes, Sequence[bytes]]
"""The lines' values of the headers that came more than once, by lower-case name."""

Matcher = Callable[[Mapping[bytes, bytes], Repeated | None], bool]
"""Whether a request matches: its headers (lower-case names, repeated ones joined), and those that came repeatedly."""


def matcher(conditions: tuple[Condition, ...]) -> Matcher:
    """Whether all of these conditions (at least one) hold for a request."""
    return reduce(_both, map(_test, conditions))


def is_compared(owners: Collection[str], stable: str) -> bool:
    """Whether copies of matched requests go to shadows, given the versions that own the match's slots.

    Not where all of them go to one version other than stable: who matches has then chosen it, and says nothing about
    the users of another.
    """
    return len(owners) > 1 or stable in owners


def _both(one: Matcher, other: Matcher) -> Matcher:
    return lambda headers, repeated: one(headers, repeated) and other(headers, repeated)


def _test(condition: Condition) -> Matcher:
    kind, name = condition.source.split(":", 1)
    fits = _comparison(condition)
    return _cookie_test(name, fits) if kind == "cookie" else _header_test(name.lower().encode(), fits)


def _header_test(name: bytes, fits: Callable[[bytes], bool]) -> Matcher:
    def holds(headers: Mapping[bytes, bytes], repeated: Repeated | None) -> bool:
        value = headers.get(name)
        if value is None:
            return False
        if repeated is not None and name in repeated:
            return any(map(fits, repeated[name]))
        return fits(value)

    return holds


def _cookie_test(name: str, fits: Callable[[bytes], bool]) -> Matcher:
    read = cookie_reader(name)

    def holds(headers: Mapping[bytes, bytes], repeated: Repeated | None) -> bool:
        value = read(headers)
        return value is not None and fits(value)

    return holds


def _comparison(condition: Condition) -> Callable[[bytes], bool]:
    if condition.exact is not None:
        exact = condition.exact.encode()
        return lambda value: value == exact
    prefix = (condition.prefix or "").encode()  # every value begins with nothing
    return lambda value: value.startswith(prefix)
