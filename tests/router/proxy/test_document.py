"""docs/router.md names every cause and every limit that there is, and none that there is not."""

import re
from pathlib import Path

import msgspec

from headgate.wire.plan import Limits
from router.core.counters import CAUSES, cause_cell

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "router.md").read_text()
SOURCES = "".join(path.read_text() for path in sorted((ROOT / "router" / "proxy").glob("*.py")))
NEVER_ANSWERED = {"body_idle_timeout"}
"""Comes only after an answer has begun, which is then cut."""


def documented() -> set[str]:
    rows = re.findall(r"^\| [45]\d\d \| (.*?) \|", DOCUMENT, re.MULTILINE)
    return {cause for row in rows for cause in re.findall(r"`([a-z0-9_]+)`", row)}


def test_each_cause_that_the_document_names_is_one_of_the_program():
    several = {"several_host", "several_content_length", "several_transfer_encoding"}
    assert 'f"several_{name' in SOURCES
    assert {cause for cause in documented() if f'"{cause}"' not in SOURCES} == several


def test_each_cause_of_the_program_is_in_the_document():
    refused = re.findall(r"(?:_bad\(|HTTPStatus\.[A-Z_]+,)\s*\"([a-z0-9_]+)\"", SOURCES)
    timed_out = re.findall(r"_time_out\(\s*\"([a-z0-9_]+)\"", SOURCES)
    assert len(set(refused)) > 20
    assert set(refused) | set(timed_out) <= documented() | NEVER_ANSWERED


def test_each_cause_has_a_cell_of_its_own():
    assert documented() | NEVER_ANSWERED == set(CAUSES) - {"proxy_protocol", "proxy_protocol_sender", "other"}
    assert len({cause_cell(cause) for cause in CAUSES}) == len(CAUSES)


def test_each_limit_is_in_the_document():
    for field in msgspec.structs.fields(Limits):
        assert f"(`{field.encode_name}`)" in DOCUMENT, field.encode_name
