"""The choice of a version against a slow reading of the rule, over made-up plans and requests."""

from dataclasses import dataclass
from hashlib import blake2b

from hypothesis import event, given
from hypothesis import strategies as st

from headgate.log import Log
from headgate.wire.plan import (
    SLOTS,
    Condition,
    IdentityKey,
    Match,
    Overrides,
    PlanVersion,
    RoutePlan,
    SlotRange,
    faults,
)
from router.core import counters as c
from router.proxy.framing import Request, parse_request
from router.proxy.picking import pick
from router.proxy.pool import Addresses
from router.proxy.routing import Ledger, Routing
from router.tls import Client, Followed

NAMES = ("v1", "v2", "v3")
COLUMNS = {f"id-{name}": column for column, name in enumerate(NAMES)}


@st.composite
def slot_tables(draw: st.DrawFn) -> tuple[SlotRange, ...]:
    edges = sorted(draw(st.sets(st.integers(1, SLOTS - 1), max_size=5)))
    bounds = zip([0, *edges], [*edges, SLOTS], strict=True)
    return tuple(SlotRange(start, end, draw(st.sampled_from(NAMES))) for start, end in bounds)


@dataclass(frozen=True)
class World:
    """A plan, what the guard tripped, and what a person pinned."""

    plan: RoutePlan
    tripped: frozenset[str]
    pin: str | None

    def routing(self) -> Routing:
        ledger = Ledger(c.Block(memoryview(bytearray(c.layout(1))), 0))
        ledger.claim(COLUMNS, COLUMNS)
        return Routing(
            self.plan,
            COLUMNS,
            ledger,
            Addresses(Followed(Client(), Log("test"))),
            tripped=self.tripped,
            pin=self.pin,
        )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    match = st.builds(Match, st.just((Condition("header:x-group", exact="beta"),)), slot_tables())
    plan = RoutePlan(
        rollout="ml/fraud",
        epoch=1,
        generation=1,
        salt=draw(st.sampled_from(["pepper", "salt"])),
        stable="v1",
        versions=tuple(
            PlanVersion(name, f"id-{name}", "stable" if name == "v1" else "candidate") for name in NAMES
        ),
        slots=draw(slot_tables()),
        match=draw(match | match | match | st.none()),
        overrides=draw(st.none() | st.just(Overrides("x-headgate-version", ("v2", "v3")))),
        identity=IdentityKey(("header:x-user-id",)),
        counted_paths=("/infer",),
    )
    assert faults(plan) == ()
    tripped = draw(st.frozensets(st.sampled_from(["v2", "v3"])))
    return World(plan, tripped, draw(st.sampled_from([None] * 8 + [*NAMES, "v9"])))


@dataclass(frozen=True)
class Asked:
    """What of a request matters to the choice."""

    user: str
    group: str
    version: str
    path: str

    def request(self, more: str = "") -> Request:
        fields = {"x-group": self.group, "x-headgate-version": self.version, "x-user-id": self.user}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        return parse_request(f"GET {self.path} HTTP/1.1\r\nHost: h\r\n{lines}{more}\r\n".encode())


requests = st.builds(
    Asked,
    user=st.text("abc123", min_size=1, max_size=8),
    group=st.sampled_from(["", "beta", "beta", "alpha"]),
    version=st.sampled_from(["", "", "v1", "v2", "v3"]),
    path=st.sampled_from(["/infer", "/infer?x=1", "/infer?y", "/health"]),
)


def slow_choice(world: World, asked: Asked) -> tuple[str, int]:
    """The rule as docs/router.md tells it."""
    plan, kind = world.plan, c.PICKED
    allowed = set(plan.overrides.allow) - world.tripped if plan.overrides else set()
    if world.pin in NAMES:
        chosen = world.pin
    elif asked.version in allowed:
        chosen, kind = asked.version, c.SELECTED
    else:
        matches = plan.match is not None and asked.group == "beta"
        table = plan.match.slots if plan.match is not None and matches else plan.slots
        key = blake2b(asked.user.encode(), digest_size=8, key=plan.salt.encode())
        slot = int.from_bytes(key.digest(), "little") % 10_000
        (chosen,) = [one.version for one in table if one.start <= slot < one.end]
        chosen = "v1" if chosen in world.tripped else chosen
        kind = c.MATCHED if matches else c.PICKED
    return chosen, kind if asked.path.startswith("/infer") else c.OTHER


KINDS = {c.PICKED: "picked", c.MATCHED: "matched", c.SELECTED: "selected", c.OTHER: "other"}


@given(worlds(), st.lists(requests, min_size=1, max_size=10))
def test_a_version_is_chosen_by_pin_override_match_and_split_in_this_order(
    world: World, several: list[Asked]
):
    routing = world.routing()
    for asked in several:
        live, kind, _ = pick(routing, asked.request())
        event(KINDS[kind])
        assert (live.name, kind) == slow_choice(world, asked)


@given(worlds(), requests, st.sampled_from(["", "X-Other: 1\r\n", "Cookie: sid=7\r\n"]))
def test_a_user_who_asks_alike_stays_with_one_version_and_one_half_as_long_as_the_plan_stays(
    world: World, asked: Asked, more: str
):
    routing, other = world.routing(), world.routing()
    first = pick(routing, asked.request())
    again = pick(other, asked.request(more))
    assert (first[0].name, *first[1:]) == (again[0].name, *again[1:])
