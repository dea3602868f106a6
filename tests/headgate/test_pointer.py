"""JSON Pointers with `*`."""

import pytest

from headgate.pointer import find, replaced, segments, text

DOCUMENT = {"a": {"b": [1, {"c": 2}]}, "x/y": {"~": 3}, "*": 4}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/a/b/0", 1),
        ("/a/b/1/c", 2),
        ("/x~1y/~0", 3),
        ("/*", 4),
        ("a", {"b": [1, {"c": 2}]}),
    ],
)
def test_a_pointer_finds_what_it_names(pointer: str, value: object) -> None:
    assert find(DOCUMENT, segments(pointer)) == value


def test_a_star_finds_every_element_of_a_list() -> None:
    document = {"rows": [{"label": "a"}, {"label": "b"}]}
    assert find(document, segments("/rows/*/label")) == ["a", "b"]


@pytest.mark.parametrize("pointer", ["/a/z", "/a/b/2", "/a/b/-1", "/a/b/x", "/a/b/²", "/a/b/0/deeper", "/q"])
def test_what_is_not_there_is_a_key_error(pointer: str) -> None:
    with pytest.raises(KeyError):
        find(DOCUMENT, segments(pointer))


@pytest.mark.parametrize("pointer", ["", "/a", "/x~1y/~0", "/a~01", "//"])
def test_a_pointer_survives_being_read_and_written(pointer: str) -> None:
    assert text(segments(pointer)) == pointer


def test_replacing_changes_a_copy_and_nothing_else() -> None:
    before = {"model": "old", "inputs": [{"name": "x"}, {"name": "y"}]}
    after = replaced(before, segments("/inputs/1/name"), "z")
    assert after == {"model": "old", "inputs": [{"name": "x"}, {"name": "z"}]}
    assert before["inputs"][1]["name"] == "y"


def test_replacing_the_whole_is_the_new_value() -> None:
    assert replaced({"a": 1}, segments(""), [2]) == [2]


def test_replacing_may_add_the_last_field_but_no_field_before_it() -> None:
    assert replaced({}, segments("/model"), "m") == {"model": "m"}
    with pytest.raises(KeyError):
        replaced({}, segments("/a/b"), 1)
    with pytest.raises(KeyError):
        replaced([1], segments("/1"), 2)
