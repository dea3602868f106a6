"""YAML is read safely, within bounds, without surprises; what is wrong is said with its line."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.crd import Document, Refused, load_documents
from controller.crd.documents import BYTES_MAX


def loaded(text: str | bytes) -> tuple[Document, ...]:
    found = load_documents(text)
    assert isinstance(found, tuple), found
    return found


def value_of(text: str) -> Any:
    return loaded(f"a: {text}\n")[0].content["a"]


def refusal(text: str | bytes) -> str:
    found = load_documents(text)
    assert isinstance(found, Refused), found
    (fault,) = found.faults
    return f"{fault.rule}: {fault.message}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1e-5", 1e-5),
        (".5", 0.5),
        ("1.0", 1.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("010", 10),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2026-11-21", "2026-11-21"),
        (".nan", ".nan"),
        ('"5"', "5"),
        ("'true'", "true"),
        ("5%", "5%"),
        ("0.02pp", "0.02pp"),
        ("!!str 5", "5"),
        ("=", "="),
        ("[a, [1, {b: c}], {}]", ["a", [1, {"b": "c"}], {}]),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_values_are_what_they_look_like(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_several_documents_are_read_and_empty_ones_left_out() -> None:
    found = loaded("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n")
    assert [document.content for document in found] == [{"a": 1}, {"b": 2}]


def test_json_is_yaml_too() -> None:
    assert loaded('{"a": [1, {"b": null}], "c": 1e-5}')[0].content == {"a": [1, {"b": None}], "c": 1e-5}


def test_anchors_aliases_and_merges_work() -> None:
    text = "base: &b {x: 1, y: [1, 2]}\none: *b\ntwo: {<<: *b, x: 3}\nthree: {<<: [{x: 9, z: 9}, *b]}\ntext: &t hi\nmore: *t\n"
    content = loaded(text)[0].content
    assert content["one"] == {"x": 1, "y": [1, 2]}
    assert content["two"] == {"x": 3, "y": [1, 2]}
    assert content["three"] == {"x": 9, "z": 9, "y": [1, 2]}
    assert content["more"] == "hi"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "duplicate-key: line 3, column 1: 'a' is there twice in the document"),
        ("a:\n  b: {c: 1, c: 2}\n", "duplicate-key: line 2, column 13: 'c' is there twice in a.b"),
        ("a: [1, 2\nb: 3\n", "yaml: line 2, column"),
        ("a: b: c\n", "yaml: line 1, column 5: mapping values are not allowed"),
        ("\tb: 1\n", "yaml: line 1, column 1: found character that cannot start any token"),
        ("a: *nobody\n", "yaml: line 1, column 4: *nobody stands for nothing"),
        ("a: &a [*a]\n", "yaml: line 1, column 8: *a stands for nothing"),
        ("a: !!python/object/apply:os.system [ls]\n", "yaml: line 1, column 4: the tag"),
        ("a: !!binary aGk=\n", "yaml: line 1, column 4: the tag"),
        ("a: !custom 1\n", "yaml: line 1, column 4: the tag !custom is not read"),
        ("? [a]\n: 1\n", "yaml: line 1, column 3: a key must be a text"),
        ("? {a: 1}\n: 1\n", "yaml: line 1, column 3: a key must be a text"),
        ("x: &x hi\n*x : 1\n", "yaml: line 2, column 1: a key must be a text"),
        ("a: {<<: 5}\n", "yaml: line 1, column 9: << merges mappings only"),
        ("- a\n- b\n", "yaml: line 1, column 1: a document must be a mapping"),
        ("just text", "yaml: line 1, column 1: a document must be a mapping"),
        ("", "yaml: there is no document in it"),
        ("# only a comment\n---\n", "yaml: there is no document in it"),
        (b"a: \xff\n", "yaml: byte 3 is not UTF-8 text"),
        ("a: \x07\n", "yaml:"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str | bytes, said: str) -> None:
    assert refusal(text).startswith(said)


def test_an_alias_bomb_is_refused_by_what_it_would_expand_to() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    assert "aliases expanded" in refusal(bomb)


def test_a_bomb_of_merges_is_refused_too() -> None:
    bomb = "a: &a {" + ", ".join(f"k{i}: 1" for i in range(1000)) + "}\n"
    bomb += "".join(f"m{i}: {{<<: *a}}\n" for i in range(1000))
    assert "aliases expanded" in refusal(bomb)


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 10_000, "- " * 50_000, "? " * 50_000])
def test_depth_is_bounded(text: str) -> None:
    assert refusal(text).startswith("yaml")


def test_size_is_bounded() -> None:
    assert refusal("a: " + "x" * BYTES_MAX).startswith(f"yaml-limit: {BYTES_MAX + 3} bytes are too many")
    assert "more than 50000 values" in refusal("a:\n" + "- 1\n" * 60_000)
    assert "more than 64 documents" in refusal("---\na: 1\n" * 70)


def test_every_path_knows_its_line() -> None:
    (document,) = loaded(
        "spec:\n  versions:\n  - name: v1\n    url: x\n  - name: v2\n  weights: [5%,\n    6%]\n"
    )
    assert document.line_of("spec.versions[1].name") == 5
    assert document.line_of("spec.versions[0].url") == 4
    assert document.line_of("spec.weights[1]") == 7
    assert document.line_of("spec.versions[1].process.command") == 5  # not there: the nearest around it
    assert document.line_of("nowhere") == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF), max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("abc/.-_ é", max_size=6), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=6), VALUES, min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_whatever_json_writes_is_read_back_as_it_was(content: dict[str, Any]) -> None:
    """Except for characters beyond U+FFFF written as two escapes, which YAML does not know: write those themselves."""
    assert loaded(json.dumps(content))[0].content == content


@given(st.text(st.sampled_from("ab:{}[]&*!|>-?,'\"#%@`<= \n\t0"), max_size=60))
@settings(max_examples=500, deadline=None)
def test_no_text_whatever_does_more_than_be_refused(text: str) -> None:
    found = load_documents(text)
    assert isinstance(found, (tuple, Refused))
