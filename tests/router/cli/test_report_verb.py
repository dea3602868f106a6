"""`headgate report` over what real observers leave: found, filtered, told in three ways, and robust to bad lines."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from headgate.cli import root
from headgate.wire.codec import encode
from headgate.wire.record import ComparisonRecord, Side
from headgate.wire.telemetry import ShadowCounters, SliceCounters
from router.cli.report import report
from router.core.sketch import Snapshot

EVIL = "<script>alert(1)</script>\x1b[31m\u202e&\"'"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(
        report, [str(one) for one in arguments], standalone_mode=False, catch_exceptions=True
    )


def told(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exception is None, result.exception
    assert result.return_value == 0
    return result.output


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exception is not None
    return str(getattr(result.exception, "message", result.exception))


def record(number: int, rollout: str = "ml/digits", **more: Any) -> ComparisonRecord:
    fields: dict[str, Any] = {
        "at": float(number),
        "rollout": rollout,
        "request_id": f"r{number}",
        "live": Side(version="v1", identity="i1", status=200, latency_ms=2.0, prediction="4", confidence=0.9),
        "shadow": Side(
            version="v2", identity="i2", status=200, latency_ms=3.0, prediction="9", confidence=0.8
        ),
        "verdict": "disagree",
        "direction": "4->9",
        "measures": {"delta_p_max": 0.5},
    }
    return ComparisonRecord(**(fields | more))


def counted(**more: Any) -> ShadowCounters:
    fields: dict[str, Any] = {
        "shadow": "v2",
        "shadow_identity": "i2",
        "live": "v1",
        "live_identity": "i1",
        "offered": 1010,
        "pairs": 1000,
        "disagreements": 20,
        "soft": 5,
        "dropped": {"timeout": 10},
        "shadow_failed": 10,
        "slices": {"class=4": SliceCounters(100, 18), "class=1": SliceCounters(900, 2)},
        "directions": {"4->9": 18, "1->7": 2},
        "live_latency": (0, 1000),
        "shadow_latency": (0, 500, 500),
    }
    return ShadowCounters(**(fields | more))


def leave(
    run_directory: Path,
    *records: ComparisonRecord,
    rollout: str = "ml/digits",
    counters: tuple[ShadowCounters, ...] | None = None,
    tail: bytes = b"",
) -> Path:
    """What an observer leaves behind."""
    folder = run_directory / "records"
    folder.mkdir(parents=True)
    lines = b"".join(encode(one) + b"\n" for one in records)
    (folder / "records-00000001.jsonl").write_bytes(lines + tail)
    if counters is not None:
        snapshot = Snapshot("boot", 1.0, rollout, counters)
        (run_directory / "shadows.json").write_bytes(msgspec.json.encode(snapshot))
    return run_directory


def test_the_decision_comes_first_and_then_what_it_rests_on(tmp_path: Path) -> None:
    leave(tmp_path / "routers" / "a", *(record(number) for number in range(20)), counters=(counted(),))
    lines = told("digits", "--state", tmp_path, "--max", "10%").splitlines()
    assert lines[0] == "ml/digits: shadow v2 (i2) against live v1 (i1)"
    assert (
        lines[1] == "PASS: 2.00 % of 1,000 pairs disagree, 99 % interval [1.14 %, 3.50 %]; tolerated 10.00 %."
    )
    text = "\n".join(lines)
    for said in (
        "Agreement 98.00 % of 1,000 compared pairs",
        "disagreements: 20 = 15 firm + 5 soft",
        "coverage: 99.01 % of 1,010 sampled pairs",
        "class=4",
        "90.00 %",
        "timeout, 10 ×: the shadow gave no whole answer in time.",
        "live answered 1,000 compared 10",
    ):
        assert said in " ".join(text.split())
    assert text.index("class=4") < text.index("class=1")


def test_several_routers_below_a_state_folder_add_up(tmp_path: Path) -> None:
    for name in ("a", "b", "deep/er/c"):
        leave(tmp_path / name, record(1), counters=(counted(),))
    data = json.loads(told("ml/digits", "--state", tmp_path, "-o", "json"))
    (section,) = data["sections"]
    assert section["counters"]["pairs"] == 3000
    assert section["counters"]["slices"]["class=4"] == {"pairs": 300, "disagreements": 54}
    assert section["disagreement"]["total"] == 3000
    assert data["linesRead"] == 3


@pytest.mark.parametrize("where", ["", "records", "records/records-00000001.jsonl"])
def test_records_may_name_a_run_directory_or_its_folder(tmp_path: Path, where: str) -> None:
    leave(tmp_path, record(1), counters=(counted(),))
    if where.endswith("jsonl"):
        assert "Directory" in refused("--records", tmp_path / where)
    else:
        assert "of 1,000 pairs disagree" in told("--records", tmp_path / where)


def test_records_alone_give_examples_and_no_share_of_agreement(tmp_path: Path) -> None:
    leave(tmp_path, record(1), record(2, verdict="agree", direction=None))
    text = told("--records", tmp_path / "records")
    assert "NO DATA: only records are left" in text
    assert "Agreement" not in text
    assert "4->9" in text


def test_rollouts_shadows_and_live_versions_are_filtered(tmp_path: Path) -> None:
    other = Side(version="v3", identity="i3", status=200, latency_ms=1.0)
    leave(
        tmp_path / "a",
        record(1),
        record(2, shadow=other),
        counters=(counted(), counted(shadow="v3", shadow_identity="i3")),
    )
    leave(tmp_path / "b", record(3, "ml/fraud"), rollout="ml/fraud", counters=(counted(),))

    def shown(*arguments: str) -> list[tuple[str, str]]:
        data = json.loads(told("--state", tmp_path, "-o", "json", *arguments))
        return [(one["rollout"], one["shadow"]) for one in data["sections"]]

    assert shown() == [("ml/digits", "v2"), ("ml/digits", "v3"), ("ml/fraud", "v2")]
    assert shown("fraud") == shown("ml/fraud") == [("ml/fraud", "v2")]
    assert shown("digits", "--shadow", "v3") == [("ml/digits", "v3")]
    assert shown("--live", "v1", "--shadow", "v3") == [("ml/digits", "v3")]
    assert "nothing of rollout digit was compared" in refused("--state", tmp_path, "digit")
    assert "nothing was compared" in refused("--state", tmp_path, "--live", "v9")


def test_bad_lines_are_counted_and_said_and_never_fatal(tmp_path: Path) -> None:
    whole = encode(record(3))
    leave(tmp_path, record(1), tail=b"not json\n\n" + b'{"wire":9}\n' + b"\xff\xfe\n" + whole[:100])
    text = told("--records", tmp_path)
    assert "4 of 5 lines could not be read and are left out" in text
    assert "line 2" in text
    data = json.loads(told("--records", tmp_path, "-o", "json"))
    assert (data["linesRead"], data["linesBad"]) == (5, 4)


def test_a_last_line_that_a_crash_cut_off_is_named_as_such(tmp_path: Path) -> None:
    leave(tmp_path, record(1), tail=encode(record(2))[:-20])
    assert "line 2: cut off, as a crash leaves it" in told("--records", tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"boot":"b"}'])
def test_counters_that_cannot_be_read_are_said_and_the_records_shown(tmp_path: Path, content: bytes) -> None:
    leave(tmp_path, record(1))
    (tmp_path / "shadows.json").write_bytes(content)
    text = told("--records", tmp_path)
    assert "the counters cannot be read" in text
    assert "4->9" in text


def test_an_empty_folder_a_missing_one_and_wrong_usage_say_what_to_do(tmp_path: Path) -> None:
    assert "nothing was compared and left here" in refused("--state", tmp_path)
    assert "no such folder; name one with --state or --records" in refused("--state", tmp_path / "gone")
    assert "write 1% or 0.01" in refused("--state", tmp_path, "--max", "0.9.9")
    assert "write 1% or 0.01" in refused("--state", tmp_path, "--max", "150%")


@pytest.mark.parametrize("given", ["1%", "0.01"])
def test_a_bound_is_a_percentage_or_a_share(tmp_path: Path, given: str) -> None:
    leave(tmp_path, counters=(counted(),))
    assert "tolerated 1.00 %" in told("--records", tmp_path, "--max", given)


class Tags(HTMLParser):
    """What a browser would make of the page."""

    VOID = frozenset({"meta", "br", "rect", "line", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def is_closed(self) -> bool:
        return not self._open


def evil_records() -> list[ComparisonRecord]:
    side = Side(version="v1", identity="i1", status=200, latency_ms=1.0, prediction={EVIL: EVIL})
    return [
        record(
            1,
            request_id=EVIL,
            direction=f"{EVIL}->{EVIL}",
            live=side,
            measures={EVIL: 1.0},
            request={"x": EVIL},
        ),
        record(2, verdict="undecodable", direction=None, why=EVIL),
    ]


def evil_counters() -> ShadowCounters:
    return counted(
        slices={f"class={EVIL}": SliceCounters(100, 50)}, directions={f"{EVIL}->{EVIL}": 50, "4->9": 1}
    )


def test_the_page_is_one_file_without_script_and_every_text_in_it_is_escaped(tmp_path: Path) -> None:
    leave(tmp_path, *evil_records(), counters=(evil_counters(),), tail=b"bad\n")
    page = told("--records", tmp_path, "-o", "html", "--max", "1%")
    assert "<script" not in page
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.is_closed
    assert not tags.names & {"script", "link", "img", "iframe", "object", "form", "a", "base"}
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name in ("src", "href")]
    assert "svg" in tags.names
    text = "".join(tags.text)
    assert "alert(1)" in text
    assert "FAIL: " in text
    assert "1 of 3 lines could not be read" in text


def test_text_cannot_move_the_readers_cursor(tmp_path: Path) -> None:
    leave(tmp_path, *evil_records(), counters=(evil_counters(),))
    text = told("--records", tmp_path)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "alert(1)" in text


def test_the_help_teaches() -> None:
    help_text = CliRunner().invoke(report, ["--help"]).output
    for words in ("headgate report fraud --max 1%", "-o html", "Exit codes: 0", "only a sample"):
        assert words in " ".join(help_text.split())


def test_the_front_door_has_the_verb() -> None:
    result = CliRunner().invoke(root(), ["report", "--help"])
    assert result.exit_code == 0
    assert "what a shadow said differently" in result.output
