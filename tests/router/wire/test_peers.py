"""What nginx, HAProxy (and Envoy, where it is on PATH) make of the corpus, beside what the router makes of it."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from tests.router.wire.peers import (
    Outcome,
    compare,
    read_as_nobody_else,
    refused_by_all_others,
    shown,
)

FORWARDED = Outcome((200, 200), ("POST /p hello", "GET /tail "))
REFUSED = Outcome((400,), ())


@pytest.mark.needs("nginx", "haproxy")
def test_what_all_other_proxies_refuse_is_not_forwarded_and_what_is_forwarded_one_of_them_reads_alike(
    tmp_path: Path,
):
    table = uvloop.run(asyncio.wait_for(compare(tmp_path), 110))
    print(shown(table))
    assert all(one == FORWARDED for one in table["cl"].values()), "a plain request passes all of them"
    assert not any(one.seen for one in table["cl-twice-different"].values()), "all of them can refuse"
    assert refused_by_all_others(table) == []
    assert read_as_nobody_else(table) == []


def test_a_message_that_only_the_router_forwards_or_reads_its_way_is_found():
    alone = {"headgate": FORWARDED, "nginx": REFUSED, "haproxy": REFUSED}
    other = {"headgate": FORWARDED, "nginx": Outcome((200,), ("POST /p hell",)), "haproxy": REFUSED}
    alike = {"headgate": FORWARDED, "nginx": FORWARDED, "haproxy": REFUSED}
    strict = {"headgate": REFUSED, "nginx": FORWARDED, "haproxy": FORWARDED}
    table = {"alone": alone, "other": other, "alike": alike, "strict": strict}
    assert refused_by_all_others(table) == ["alone", "other"]
    assert read_as_nobody_else(table) == ["alone", "other"]
