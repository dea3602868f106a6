"""Which requests match: the compiled conditions against a slow reading of the same head, and who answers them."""

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from headgate.wire.plan import SLOTS, Condition, Match, PlanVersion, RoutePlan, SlotRange, faults
from router.core.match import matcher
from router.core.pick import hash_of, owners, slot_of
from router.proxy.framing import parse_request

NAMES = st.sampled_from(["x-a", "X-A", "x-b", "x-ab", "cookie", "accept"])
VALUES = st.sampled_from(["", "a", "ab", "a, b", "b", "A", "\xe4", "sid=a", "sid=b; x=1", 'sid="a"', "xsid=a", "sid=", "a; sid=ab"])  # fmt: skip
SPACES = st.sampled_from(["", " ", "\t "])
LINES = st.lists(st.tuples(NAMES, SPACES, VALUES, SPACES), max_size=6)
TEXTS = st.sampled_from(["a", "ab", "a, b", "b", "ä", "A"])


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    source = draw(st.sampled_from(["header:x-a", "header:X-B", "header:cookie", "cookie:sid", "cookie:x"]))
    text = draw(st.none() | TEXTS)
    if text is not None and draw(st.booleans()):
        return Condition(source, prefix=text)
    return Condition(source, exact=draw(st.just("") | st.just(text)))


def slow_reading(lines: list[tuple[str, str, str, str]], condition: Condition) -> bool:
    """The rule as it is written, from text, with nothing compiled and nothing joined."""
    kind, name = condition.source.split(":")
    if kind == "header":
        values = [value.strip() for key, _, value, _ in lines if key.lower() == name.lower()]
    else:
        jar = "; ".join(value for key, _, value, _ in lines if key == "cookie")
        pairs = [pair.strip().partition("=") for pair in jar.split(";")]
        values = [value.strip('"') for key, mark, value in pairs if key == name and mark][:1]
    texts = [value.encode("latin-1") for value in values]
    if condition.exact is not None:
        return condition.exact.encode() in texts
    return any(text.startswith((condition.prefix or "").encode()) for text in texts)


@given(LINES, st.lists(conditions(), min_size=1, max_size=4))
@example([("x-a", " ", "b", ""), ("X-A", "", "a", " ")], [Condition("header:x-a", exact="a")])
@example([("x-a", "", "a", ""), ("x-a", "", "b", "")], [Condition("header:x-a", exact="a, b")])
@example([("x-a", "", "a, b", "")], [Condition("header:x-a", exact="a, b")])
@example([("cookie", "", "sid=b", ""), ("cookie", "", "sid=a", "")], [Condition("cookie:sid", exact="a")])
def test_compiled_conditions_hold_exactly_where_a_slow_reading_of_the_head_says_so(
    lines: list[tuple[str, str, str, str]], wanted: list[Condition]
):
    fields = "".join(f"{name}:{before}{value}{after}\r\n" for name, before, value, after in lines)
    request = parse_request(f"GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n".encode("latin-1"))
    expected = all(slow_reading(lines, one) for one in wanted)
    event(f"matches: {expected}")
    assert matcher(tuple(wanted))(request.headers, request.repeated) is expected


@pytest.mark.parametrize(
    ("condition", "head", "holds"),
    [
        (Condition("header:x-tester"), "X-Tester:", True),
        (Condition("header:x-tester"), "X-Testers: 1", False),
        (Condition("header:x-tester", exact=""), "X-Tester: ", True),
        (Condition("header:x-tester", exact=""), "X-Tester: 1", False),
        (Condition("header:x-country", exact="DE"), "X-Country: de", False),
        (Condition("header:x-country", exact="DE"), "X-Country: DE, FR", False),
        (Condition("header:x-country", prefix="DE"), "X-Country: DE, FR", True),
        (Condition("header:x-country", prefix="FR"), "X-Country: DE\r\nx-country: FR-1", True),
        (Condition("header:host", exact="h"), "X: 1", True),
        (Condition("cookie:sid"), "Cookie: sid=", True),
        (Condition("cookie:sid"), "Cookie: sid", False),
        (Condition("cookie:sid", exact="a b"), 'Cookie: x=1; sid="a b"; y=2', True),
        (Condition("cookie:s.d", exact="a"), "Cookie: sxd=a", False),
    ],
)
def test_the_rule_in_examples(condition: Condition, head: str, holds: bool):
    request = parse_request(f"GET / HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n".encode())
    assert matcher((condition,))(request.headers, request.repeated) is holds


def plan_with(matched: int, everyone: int = 0) -> RoutePlan:
    """v2 has the last `matched` slots among matching requests, and the last `everyone` of the others."""

    def slots(weight: int) -> tuple[SlotRange, ...]:
        both = (SlotRange(0, SLOTS - weight, "v1"), SlotRange(SLOTS - weight, SLOTS, "v2"))
        return tuple(one for one in both if one.start < one.end)

    return RoutePlan(
        rollout="ml/fraud",
        epoch=1,
        generation=1,
        salt="s",
        stable="v1",
        versions=(PlanVersion("v1", "i1", "stable"), PlanVersion("v2", "i2", "candidate")),
        slots=slots(everyone),
        match=Match((Condition("header:x-a"),), slots(matched)),
    )


@given(st.integers(0, SLOTS), st.integers(0, SLOTS), st.lists(st.binary(min_size=1), min_size=1, max_size=30))
def test_a_raised_share_of_the_matching_moves_users_only_towards_the_candidate(
    a: int, b: int, users: list[bytes]
):
    low, high = plan_with(min(a, b)), plan_with(max(a, b))
    assert faults(low) == faults(high) == ()
    before, after = (owners(plan, (), plan.match.slots) for plan in (low, high))
    for user in users:
        slot = slot_of(hash_of(b"salt", user))
        assert (before[slot], after[slot]) != (1, 0), "a user went back while the share rose"
        assert owners(low)[slot] == owners(high)[slot] == 0, "others are not moved by it"


def test_matching_slots_of_a_tripped_version_are_stable_s():
    plan = plan_with(10_000, 4_000)
    assert owners(plan, ["v2"], plan.match.slots) == bytes(SLOTS)
    assert plan.match.weights() == {"v2": 10_000}
    assert plan.weights() == {"v1": 6_000, "v2": 4_000}
