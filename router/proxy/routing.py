"""A plan made ready to serve: tables instead of rules, endpoints instead of addresses, counter cells instead of names.

A `Routing` never changes. A new plan, a guard trip or a pin makes another one, which the worker puts in its place
between two requests; exchanges that began under the old one end there.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from headgate.wire.plan import Match, PlanVersion, RoutePlan
from router.core.counters import MATCHED, PICKED, UNREAD, Block
from router.core.match import is_compared, matcher
from router.core.pick import identity_reader, owners, path_matcher
from router.proxy.pool import Address, Addresses

_PATHS_REMEMBERED_MAX: Final = 1024


class Counted:
    """Where requests of one version identity are counted; it outlives plans, so that nothing is counted twice."""

    __slots__ = ("column", "identity", "in_flight", "start")

    def __init__(self, identity: str, column: int, start: int) -> None:
        self.identity = identity
        self.column = column
        self.start = start
        self.in_flight = 0


class Ledger:
    """The counters of all identities that requests of this worker may still end under."""

    __slots__ = ("_known", "block")

    def __init__(self, block: Block) -> None:
        self.block = block
        self._known: dict[str, Counted] = {}

    def claim(self, columns: Mapping[str, int], identities: Iterable[str]) -> None:
        """Give each identity its column; who had it before counts where nobody reads."""
        for identity in identities:
            column = columns[identity]
            known = self._known.get(identity)
            if known is not None and known.column == column and known.start != UNREAD:
                continue
            for other in self._known.values():
                if other.column == column:
                    other.start = UNREAD
            start, _ = self.block.claim(column, identity)
            if known is None:
                self._known[identity] = Counted(identity, column, start)
            else:
                known.column, known.start = column, start

    def of(self, identity: str) -> Counted:
        """The counters of an identity that was claimed."""
        return self._known[identity]

    def current(self) -> Iterable[Counted]:
        """Those whose column is theirs."""
        return (one for one in self._known.values() if one.start != UNREAD)


class Live:
    """One version that answers requests."""

    __slots__ = ("addresses", "answer_line", "base_path", "counted", "is_stable", "name", "rewrite_path")

    def __init__(
        self,
        version: PlanVersion,
        counted: Counted,
        addresses: list[Address],
        *,
        is_stable: bool,
        is_named: bool,
    ) -> None:
        self.name = version.name
        self.counted = counted
        self.addresses = addresses
        self.is_stable = is_stable
        self.answer_line = b"x-headgate-version: %s\r\n" % version.name.encode() if is_named else b""
        self.base_path = version.base_path.rstrip("/").encode()
        rewrite = version.rewrite.path if version.rewrite else None
        self.rewrite_path = rewrite.encode() if rewrite else None

    def target_of(self, target: bytes) -> bytes:
        """What this version's endpoints are asked for instead of `target`: its own path, the same query."""
        if self.rewrite_path is not None:
            _, mark, query = target.partition(b"?")
            target = self.rewrite_path + mark + query
        return self.base_path + target if self.base_path and target != b"*" else target


class ShadowRule:
    """To which shadow, and how many of a million requests, are copied."""

    __slots__ = ("column", "identity", "name", "sample")

    def __init__(self, version: PlanVersion, column: int, sample: int) -> None:
        self.name = version.name
        self.identity = version.identity
        self.column = column
        self.sample = sample


class Matching:
    """Who gets the requests that match: `owners` holds the index of a version for each slot, as the plan's table."""

    __slots__ = ("holds", "is_compared", "owners")

    def __init__(self, plan: RoutePlan, match: Match, tripped: frozenset[str]) -> None:
        self.holds = matcher(match.conditions)
        self.owners = owners(plan, tripped, match.slots)
        self.is_compared = is_compared({plan.versions[index].name for index in set(self.owners)}, plan.stable)


class Routing:
    """What a worker serves. `owners` holds the index of a version for each slot, `pinned` answers everything.

    `match` is None in most plans; `compared` holds the groups of counters whose requests are copied to shadows.
    """

    __slots__ = (
        *(
            "_counts_path",
            "_paths",
            "compared",
            "identity_of",
            "limits",
            "match",
            "override_header",
            "overrides",
            "owners",
            "pinned",
        ),
        *("plan", "salt", "shadows", "stable", "versions"),
    )

    def __init__(
        self,
        plan: RoutePlan,
        columns: Mapping[str, int],
        ledger: Ledger,
        addresses: Addresses,
        *,
        tripped: frozenset[str] = frozenset(),
        pin: str | None = None,
        names_version: bool = True,
    ) -> None:
        self.plan = plan
        self.salt = plan.salt.encode()[:64]
        self.limits = plan.limits
        self.versions = [
            Live(
                one,
                ledger.of(one.identity),
                addresses.of(one.endpoints),
                is_stable=one.name == plan.stable,
                is_named=names_version,
            )
            for one in plan.versions
        ]
        by_name = {live.name: live for live in self.versions}
        self.stable = by_name[plan.stable]
        self.owners = owners(plan, tripped)
        self.match = Matching(plan, plan.match, tripped) if plan.match else None
        self.compared = (PICKED, MATCHED) if self.match is not None and self.match.is_compared else (PICKED,)
        self.pinned = by_name.get(pin) if pin else None
        self.identity_of = identity_reader(plan.identity) if plan.identity.sources else None
        self.override_header = plan.overrides.header.encode() if plan.overrides else b""
        allowed = plan.overrides.allow if plan.overrides else ()
        self.overrides = {name.encode(): by_name[name] for name in allowed if name not in tripped}
        self.shadows = [_shadow(plan, columns, one.version, one.sample) for one in plan.shadows if one.sample]
        self._counts_path = path_matcher(plan.counted_paths)
        self._paths: dict[bytes, bool] = {}

    def counts(self, target: bytes) -> bool:
        """Whether requests to this target say something about a version."""
        path = target.partition(b"?")[0]
        known = self._paths.get(path)
        if known is None:
            if len(self._paths) >= _PATHS_REMEMBERED_MAX:
                self._paths.clear()
            known = self._paths[path] = self._counts_path(path)
        return known


def _shadow(plan: RoutePlan, columns: Mapping[str, int], name: str, sample: int) -> ShadowRule:
    version = next(one for one in plan.versions if one.name == name)
    return ShadowRule(version, columns[version.identity], sample)
