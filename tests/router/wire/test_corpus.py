"""Every message of the corpus, in every chunking, through a real worker: one reaction, whatever the pieces.

"Every": whole, byte by byte, and for messages of up to SMALL bytes two pieces cut at each boundary; large ones in
pieces of 1,000 bytes. A loopback connection may join pieces that were sent apart; that costs coverage of a run, never
a wrong verdict.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from headgate.wire.plan import Endpoint, Limits, PlanVersion
from tests.router.proxy.proxy_world import Router, plan_of, serving, until
from tests.router.wire.corpus import ANSWERS, LIMIT, REQUESTS, TAIL, Answer, Case, Refuse
from tests.router.wire.talk import Heard, Recorder, Said, Seen, converse, pieces, source

SMALL: Final = 110
LARGE: Final = 1_500
AT_ONCE: Final = 48
PATIENCE_S: Final = 100.0


def cuts(raw: bytes) -> Iterable[tuple[str, list[bytes]]]:
    """`(what it is called, pieces)` for each chunking."""
    yield "whole", [raw]
    if len(raw) > LARGE:
        yield "in pieces of 1000 bytes", pieces(raw, 1000)
        return
    yield "byte by byte", pieces(raw, 1)
    for at in range(1, len(raw)) if len(raw) <= SMALL else ():
        yield f"cut after {at} bytes", [raw[:at], raw[at:]]


@asynccontextmanager
async def world(run: Path) -> AsyncIterator[tuple[Router, Recorder]]:
    """One worker in front of one recording model server."""
    recorder = await Recorder().start()
    v1 = PlanVersion(
        name="v1", identity="id-v1", role="stable", endpoints=(Endpoint("127.0.0.1", recorder.port),)
    )
    limits = Limits(header_bytes_max=LIMIT, request_timeout_ms=90_000, connect_timeout_ms=30_000)
    try:
        async with serving(run, plan_of(v1, limits=limits)) as router:
            yield router, recorder
    finally:
        await recorder.stop()


async def all_of(works: Iterable[Coroutine[Any, Any, str]], at_once: int = AT_ONCE) -> list[str]:
    """What is wrong, of all works, a bounded number at a time."""
    turn = asyncio.Semaphore(at_once)

    async def one(work: Coroutine[Any, Any, str]) -> str:
        async with turn:
            return await work

    return [wrong for wrong in await asyncio.gather(*(one(work) for work in works)) if wrong]


# -- requests ------------------------------------------------------------------------------------------------------


def fault_of(case: Case, heard: Heard, seen: list[Seen]) -> str:
    """What of this reaction is not the required one; empty if nothing."""
    final = [one for one in heard.answers if one.status >= 200]
    if heard.is_open or heard.rest or not all(one.is_whole for one in final):
        return f"the connection did not end after whole answers: {heard}"
    requests, texts = [str(one) for one in seen], [_brief(one) for one in final]
    if isinstance(case.reaction, Refuse):
        refused = f"{case.reaction.status} {case.reaction.cause}"
        if texts != ["200"] * case.reaction.answered + [refused]:
            return f"answered {texts}, not {refused}"
        return "" if len(requests) == case.reaction.answered else f"models saw {requests}"
    tail = () if case.is_cut or case.reaction.ends else ("GET /tail ",)
    if requests != [*case.reaction.requests, *tail]:
        return f"models saw {requests}, clients {texts}"
    if texts != ["200"] * len(requests):
        return f"answered {texts}"
    head = seen[0].head if seen else ""
    wrong = [text for text in case.reaction.has if text not in head]
    wrong += [text for text in case.reaction.lacks if text in head]
    return f"the head has, or has not, {wrong}: {head!r}" if wrong else ""


def _brief(said: Said) -> str:
    if "application/json" not in said.head:
        return str(said.status)
    return f"{said.status} {msgspec.json.decode(said.body)['error']['cause']}"


async def ask(router: Router, recorder: Recorder, case: Case, how: str, parts: list[bytes]) -> str:
    address = source()
    after = [] if case.is_cut else [TAIL]
    parts = [*parts, *after] if how != "whole" else [b"".join([*parts, *after])]
    heard = await converse(router.port, parts, address, is_cut=case.is_cut, patience_s=PATIENCE_S)
    fault = fault_of(case, heard, recorder.seen[address])
    return f"{case.name}, {how}: {fault}" if fault else ""


def test_each_request_of_the_corpus_gets_its_reaction_in_every_chunking(tmp_path: Path):
    async def test() -> None:
        async with world(tmp_path) as (router, recorder):
            runs = [(case, how, parts) for case in REQUESTS for how, parts in cuts(case.raw)]
            wrong = await all_of(ask(router, recorder, *one) for one in runs)
            assert not wrong, f"{len(wrong)} of {len(runs)}:\n" + "\n".join(wrong[:40])
            assert not recorder.unreadable
            smuggled = [one for seen in recorder.seen.values() for one in seen if "/smuggled" in one.head]
            assert not smuggled

    uvloop.run(asyncio.wait_for(test(), 110))


# -- answers -------------------------------------------------------------------------------------------------------


def fault_of_answer(answer: Answer, heard: Heard) -> str:
    """What of this is not the required reaction to a model server's answer; empty if nothing."""
    interim = [one for one in heard.answers if one.status < 200]
    first, *after = [one for one in heard.answers if one.status >= 200] or [Said(0, "", b"")]
    if answer.is_cut:
        is_told = first.status == 502 or (first.status == 200 and not first.is_whole and heard.is_reset)
        return "" if is_told else f"a broken answer was passed on as whole: {heard}"
    if heard.is_open or heard.rest or not first.is_whole:
        return f"the connection did not end after whole answers: {heard}"
    if (first.status, len(interim)) != (answer.status, answer.interim):
        return f"answered {first.status} after {len(interim)} interim answers"
    if answer.status != 502 and first.body != answer.body:
        return f"the body is {first.body!r}"
    if not all((one.status, one.body) == (200, b"seen") for one in after) or len(after) != (
        not answer.has_surplus
    ):
        return f"the next request was answered {after}"
    wrong = [text for text in answer.lacks if text in first.head.lower()]
    return f"the head has {wrong}" if wrong else ""


def sizes(answer: Answer) -> Iterable[int]:
    """Where the first piece ends; 10,000 is beyond any answer, 1 means each byte for itself."""
    yield 10_000
    if len(answer.raw) > LARGE:
        yield from (1000, len(answer.raw) // 2)
    else:
        yield from range(1, len(answer.raw) if len(answer.raw) <= SMALL else 2)


async def answered(router: Router, recorder: Recorder, answer: Answer, size: int) -> str:
    """Ask for the answer, and for another on the same connection unless what follows the first may spoil it."""
    target = f"/answer/{answer.name}?size={size}".encode()
    last = b"Connection: close\r\n" if answer.has_surplus else b""
    request = b"%b %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (answer.method.encode(), target, last)
    parts = [request] if answer.has_surplus else [request + TAIL]
    heard = await converse(router.port, parts, source(), is_cut=False, patience_s=PATIENCE_S)
    if answer.has_surplus:
        await until(lambda: not recorder.spoiled, "the router closes a connection on which it got too much")
    fault = fault_of_answer(answer, heard)
    return f"{answer.name}, first piece {size}: {fault}" if fault else ""


def test_each_answer_of_the_corpus_is_passed_on_or_502_or_visibly_broken_in_every_chunking(tmp_path: Path):
    async def test() -> None:
        async with world(tmp_path) as (router, recorder):
            runs = [(one, size) for one in ANSWERS for size in sizes(one)]
            wrong = await all_of(
                answered(router, recorder, one, size) for one, size in runs if not one.has_surplus
            )
            # What comes late after an answer's end could meet the next request on that connection: one at a time.
            wrong += await all_of((answered(router, recorder, *run) for run in runs if run[0].has_surplus), 1)
            assert not wrong, f"{len(wrong)} of {len(runs)}:\n" + "\n".join(wrong[:40])

    uvloop.run(asyncio.wait_for(test(), 110))


def test_what_follows_an_answer_in_the_same_piece_reaches_nobody(tmp_path: Path):
    async def test() -> None:
        async with world(tmp_path) as (router, _):
            for answer in [one for one in ANSWERS if one.has_surplus]:
                target = f"/answer/{answer.name}?size=10000".encode()
                request = b"%b %b HTTP/1.1\r\nHost: h\r\n\r\n" % (answer.method.encode(), target)
                heard = await converse(router.port, [request + TAIL], source(), is_cut=False)
                assert heard.answers[-1].body == b"seen", (answer.name, heard)

    uvloop.run(asyncio.wait_for(test(), 110))
