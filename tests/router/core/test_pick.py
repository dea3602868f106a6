"""Who gets a request: sticky users, slots that move only as weights say, samples that are fair and independent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.plan import SLOTS, IdentityKey, PlanVersion, RoutePlan, SlotRange
from router.core.pick import (
    hash_of,
    identity_reader,
    is_in_first_half,
    is_sampled,
    owners,
    path_matcher,
    sample_bits,
    slot_of,
)


def plan_with(weight: int) -> RoutePlan:
    """v2 has the last `weight` slots, v1 the others."""
    slots = [SlotRange(0, SLOTS - weight, "v1"), SlotRange(SLOTS - weight, SLOTS, "v2")]
    return RoutePlan(
        rollout="ml/fraud",
        epoch=1,
        generation=1,
        salt="s",
        stable="v1",
        versions=(PlanVersion("v1", "i1", "stable"), PlanVersion("v2", "i2", "candidate")),
        slots=tuple(one for one in slots if one.start < one.end),
    )


@given(st.integers(0, SLOTS), st.integers(0, SLOTS), st.lists(st.binary(min_size=1), min_size=1, max_size=50))
def test_a_raised_weight_moves_users_only_towards_the_candidate(a: int, b: int, users: list[bytes]):
    low, high = owners(plan_with(min(a, b))), owners(plan_with(max(a, b)))
    assert len(low) == len(high) == SLOTS
    assert high.count(1) == max(a, b)
    for user in users:
        slot = slot_of(hash_of(b"salt", user))
        assert (low[slot], high[slot]) != (1, 0), "a user went back while the weight rose"


def test_slots_of_a_tripped_version_are_stable_s():
    table = owners(plan_with(4_000), ["v2"])
    assert table == bytes(SLOTS)
    assert owners(plan_with(4_000), ["v1"]).count(1) == 4_000


def test_users_spread_evenly_and_halves_are_independent_of_slots():
    hashes = [hash_of(b"salt", b"user-%d" % i) for i in range(20_000)]
    share = sum(slot_of(one) < 2_500 for one in hashes) / len(hashes)
    assert 0.235 < share < 0.265  # 4.9 standard deviations
    low = [is_in_first_half(one) for one in hashes if slot_of(one) < 5_000]
    high = [is_in_first_half(one) for one in hashes if slot_of(one) >= 5_000]
    assert abs(sum(low) / len(low) - 0.5) < 0.025
    assert abs(sum(high) / len(high) - 0.5) < 0.025


def test_another_salt_shuffles_users():
    kept = sum(
        slot_of(hash_of(b"one", b"user-%d" % i)) // 5_000 == slot_of(hash_of(b"two", b"user-%d" % i)) // 5_000
        for i in range(4_000)
    )
    assert 1_800 < kept < 2_200


def test_the_place_of_a_user_never_changes_between_releases():
    """Routers of two releases serve side by side: these values are for ever."""
    assert [slot_of(hash_of(b"pepper", user)) for user in (b"alice", b"bob", b"\xff")] == GOLDEN_SLOTS
    assert sample_bits(b"pepper", b"r1") == GOLDEN_BITS


GOLDEN_SLOTS = [7018, 1768, 7168]
GOLDEN_BITS = 0x618A306BEFED1B4760EAB9A93E20464


@given(st.integers(0, 1_000_000))
def test_a_sample_of_all_is_all_and_of_none_is_none(i: int):
    bits = sample_bits(b"salt", b"request-%d" % i)
    assert all(is_sampled(bits, shadow, 1_000_000) for shadow in range(4))
    assert not any(is_sampled(bits, shadow, 0) for shadow in range(4))


def test_samples_have_their_size_and_shadows_are_independent():
    bits = [sample_bits(b"salt", b"request-%d" % i) for i in range(20_000)]
    first = [is_sampled(one, 0, 100_000) for one in bits]
    last = [is_sampled(one, 3, 100_000) for one in bits]
    assert 1_790 < sum(first) < 2_210
    assert 1_790 < sum(last) < 2_210
    assert 130 < sum(a and b for a, b in zip(first, last, strict=True)) < 270


@pytest.mark.parametrize(
    ("sources", "headers", "target", "key"),
    [
        (("header:X-User-Id",), {b"x-user-id": b"u1"}, b"/", b"u1"),
        (("header:x-user-id",), {b"x-user-id": b""}, b"/", None),
        (("cookie:sid",), {b"cookie": b"a=1; sid=abc; b=2"}, b"/", b"abc"),
        (("cookie:sid",), {b"cookie": b'sid="abc"'}, b"/", b"abc"),
        (("cookie:sid",), {b"cookie": b"xsid=abc"}, b"/", None),
        (("cookie:s.d",), {b"cookie": b"sxd=abc"}, b"/", None),
        (("query:user",), {}, b"/p?a=b&user=u%201&user=v", b"u 1"),
        (("query:user",), {}, b"/p?user=a+b", b"a b"),
        (("query:user",), {}, b"/user=1?xuser=2", None),
        (("query:user",), {}, b"/p?user=", None),
        (("header:h", "cookie:c", "query:q"), {b"cookie": b"c=2"}, b"/?q=3", b"2"),
        (("header:h", "cookie:c", "query:q"), {}, b"/?q=3", b"3"),
        ((), {b"x-user-id": b"u1"}, b"/", None),
    ],
)
def test_the_first_source_with_a_value_identifies_the_user(
    sources: tuple[str, ...], headers: dict[bytes, bytes], target: bytes, key: bytes | None
):
    assert identity_reader(IdentityKey(sources))(headers, target) == key


@pytest.mark.parametrize(
    ("globs", "path", "counts"),
    [
        ((), b"/anything", True),
        (("/predict",), b"/predict", True),
        (("/predict",), b"/predict/x", False),
        (("/v2/models/*/infer",), b"/v2/models/a/versions/1/infer", True),
        (("/v2/models/*/infer",), b"/v2/models/a/ready", False),
        (("/a.b",), b"/axb", False),
        (("/a*", "*/z"), b"/q/z", True),
    ],
)
def test_globs_choose_the_paths_that_count(globs: tuple[str, ...], path: bytes, counts: bool):
    assert path_matcher(globs)(path) is counts
