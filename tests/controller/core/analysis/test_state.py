"""What is stored between two looks: the same after a restart, small, and never trusted blindly."""

import random
from dataclasses import replace
from hashlib import blake2b

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from controller.core.analysis.state import FRESH, AnalysisState, decode_state, encode_state
from tests.controller.core.analysis.worlds import CANDIDATE, START, Judge, Router, chance, seconds
from tests.controller.core.analysis.worlds import STABLE as STABLE_VERSION


def busy(routers: int = 3) -> Judge:
    rng = random.Random(1)
    many = [Router(f"router-{n}-5d9f7c-abcde", f"{n:032x}") for n in range(routers)]
    judged = Judge()
    for now in seconds(60):
        for router in many:
            router.count(CANDIDATE.identity, 25, chance(rng, 25, 0.02))
            router.count(STABLE_VERSION.identity, 475, chance(rng, 475, 0.01), 240, 2)
        judged.look(now, *many)
    return judged


def test_stored_state_comes_back_as_it_was():
    state = busy().state
    assert decode_state(encode_state(state)) == state


def test_a_check_needs_no_more_than_two_kilobytes():
    assert len(encode_state(busy(routers=3).state)) <= 2000


def test_nothing_stored_is_a_fresh_state_and_nothing_to_tell():
    assert decode_state(b"") == FRESH
    assert FRESH.note == ""


@given(st.binary(min_size=1, max_size=400))
def test_any_bytes_give_a_usable_state_and_lost_evidence_is_said(stored):
    state = decode_state(stored)
    assert isinstance(state, AnalysisState)
    assert state.candidate == ""
    assert "stored evidence was dropped" in state.note


def test_damage_anywhere_is_noticed():
    stored = encode_state(busy(1).state)
    for position in range(1, len(stored), 7):
        flipped = bytes([stored[position] ^ 1])
        for damaged in (stored[:position], stored[:position] + flipped + stored[position + 1 :]):
            assert decode_state(damaged).note == "stored evidence was dropped: it is damaged"


def test_state_of_another_format_is_dropped_and_that_is_said():
    stored = encode_state(replace(busy(1).state, format=99))
    assert decode_state(stored).note == "stored evidence was dropped: it has format 99, this program 1"


def test_state_of_another_shape_is_dropped_and_that_is_said():
    packed = msgspec.msgpack.encode({"checks": 1})
    stored = blake2b(packed, digest_size=8).digest() + packed
    assert decode_state(stored).note == "stored evidence was dropped: it is of another release"


def test_lost_evidence_is_told_in_the_verdict():
    router = Router()
    judged = Judge(state=decode_state(b"nonsense"))
    judged.look(START, router)
    assert "stored evidence was dropped" in judged.look(START + 1, router).text
