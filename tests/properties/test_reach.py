"""What excuses a branch that the simulator never takes names one place, and is struck when that place is gone."""

import pytest

from tests.properties.reach import CORE, REVIEWED, REVIEWED_FILES, Branch, functions_of, unused

SOURCE = """
def outer():
    if first:
        def inner():
            return 1
    return 2
"""


@pytest.mark.parametrize("key", REVIEWED, ids=lambda key: f"{key[0]}: {key[1]}: {key[2]}"[:70])
def test_the_line_that_is_excused_is_in_its_function(key: tuple[str, str, str]) -> None:
    file, function, text = key
    source = (CORE / file).read_text()
    functions = functions_of(source)
    lines = enumerate(source.splitlines(), 1)
    assert any(line.strip() == text and functions.get(number) == function for number, line in lines)


def test_a_file_that_is_excused_is_there() -> None:
    assert all((CORE / name).is_file() for name in REVIEWED_FILES)


def test_a_line_belongs_to_the_innermost_function_around_it() -> None:
    assert functions_of(SOURCE) == {2: "outer", 3: "outer", 4: "inner", 5: "inner", 6: "outer"}


def test_an_excuse_holds_in_its_own_function_only_and_one_that_is_not_needed_is_told() -> None:
    excused = [Branch(*key[:2], 1, key[2], "elsewhere") for key in REVIEWED]
    assert all(branch.reason for branch in excused)
    assert unused(excused) == []
    first = excused[0]
    assert not Branch(first.file, "another", 1, first.text, "elsewhere").reason
    assert unused(excused[1:]) == [first.key]
