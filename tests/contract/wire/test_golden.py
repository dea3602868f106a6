"""What a release wrote, every later one reads: the golden files of wire version 1, and the committed schemas."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headgate.wire import READS, VERSION
from headgate.wire.codec import MESSAGES, decode_plan, decode_record, decode_telemetry, encode
from scripts.wire_schemas import FOLDER, rendered
from tests.contract.wire.examples import EXAMPLES

GOLDEN = Path(__file__).parent / "golden"
DECODE = {"route-plan": decode_plan, "telemetry": decode_telemetry, "comparison-record": decode_record}


def files() -> list[Path]:
    return sorted(path for version in READS for path in (GOLDEN / f"v{version}").glob("*.json"))


def message_of(path: Path) -> str:
    return path.stem.rpartition("-")[0]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_golden_file_is_read_as_what_it_was_written_from(path: Path) -> None:
    assert DECODE[message_of(path)](path.read_bytes()) == EXAMPLES[path.stem]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_every_field_of_a_golden_file_is_still_written_with_the_same_value(path: Path) -> None:
    written = json.loads(encode(EXAMPLES[path.stem]))
    assert missing(json.loads(path.read_bytes()), written) == []


def test_every_message_has_a_small_and_a_full_golden_file_in_every_version_that_is_read() -> None:
    for version in READS:
        found = {path.stem for path in (GOLDEN / f"v{version}").glob("*.json")}
        assert {f"{name}-{size}" for name in MESSAGES for size in ("small", "full")} <= found


def test_the_examples_of_a_message_set_every_field_there_is_to_another_value_than_its_default() -> None:
    for name in MESSAGES:
        examples = [one for example, one in EXAMPLES.items() if example.rpartition("-")[0] == name]
        assert unset(examples, name) == []


@pytest.mark.parametrize("name", MESSAGES)
def test_the_committed_schema_is_the_one_the_types_give(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == rendered(name), "run: python scripts/wire_schemas.py"


def test_no_schema_is_left_of_a_message_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(MESSAGES)


def test_this_release_reads_what_it_writes() -> None:
    assert VERSION in READS
    assert all(json.loads(encode(one))["wire"] == VERSION for one in EXAMPLES.values())


def missing(golden: Any, written: Any, where: str = "") -> list[str]:
    """Where `written` lacks what `golden` has, or has something else there."""
    if isinstance(golden, dict) and isinstance(written, dict):
        return [
            found
            for name, value in golden.items()
            for found in (
                missing(value, written[name], f"{where}/{name}") if name in written else [f"{where}/{name}"]
            )
        ]
    if isinstance(golden, list) and isinstance(written, list) and len(golden) == len(written):
        return [
            found
            for index, pair in enumerate(zip(golden, written, strict=True))
            for found in missing(*pair, f"{where}/{index}")
        ]
    return [] if golden == written else [where]


def unset(value: Any, where: str) -> list[str]:
    """The fields of all structs within `value` that no instance of their type within it sets."""
    instances: dict[type, list[tuple[Any, str]]] = {}
    collect(value, where, instances)
    return [
        f"{kind.__name__}.{field.name}"
        for kind, found in instances.items()
        for field in msgspec.structs.fields(kind)
        if field.name != "wire"
        and not field.required
        and all(getattr(one, field.name) == default_of(field) for one, _ in found)
    ]


def default_of(field: Any) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def collect(value: Any, where: str, instances: dict[type, list[tuple[Any, str]]]) -> None:
    if isinstance(value, msgspec.Struct):
        instances.setdefault(type(value), []).append((value, where))
        for field in msgspec.structs.fields(value):
            collect(getattr(value, field.name), f"{where}.{field.name}", instances)
    elif isinstance(value, dict | tuple | list):
        for inner in value.values() if isinstance(value, dict) else value:
            collect(inner, where, instances)
