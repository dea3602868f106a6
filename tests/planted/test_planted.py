"""Every planted fault still fits the code, and a sample of them is noticed; `make planted` tries them all."""

from pathlib import Path

import pytest

from tests.planted.faults import FAULTS
from tests.planted.plant import BESIDES_S, CORE, ROOT, Fault, Garden, Noticed, Stale, planted

SAMPLE = tuple(fault for fault in FAULTS if fault.is_sample)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.wrong}"[:70])
def test_the_fault_fits_the_code_and_changes_it(fault: Fault) -> None:
    text = (ROOT / fault.path).read_text()
    wrong = planted(text, fault)
    assert wrong != text
    compile(wrong, fault.path, "exec")


def test_there_are_enough_faults_and_each_says_what_harm_it_does() -> None:
    assert len({(f.file, f.inside, f.line, f.wrong) for f in FAULTS}) == len(FAULTS) >= 40
    assert all(fault.harm.endswith(".") for fault in FAULTS)


def test_a_fault_whose_line_is_gone_or_there_twice_is_an_error() -> None:
    with pytest.raises(Stale, match="0 lines are"):
        planted("a = 1\n", Fault("slots.py", "b = 1", "b = 2", "None."))
    with pytest.raises(Stale, match="2 lines are"):
        planted("a = 1\na = 1\n", Fault("slots.py", "a = 1", "a = 2", "None."))


def test_a_fault_may_be_meant_inside_one_function() -> None:
    text = "def f():\n    return 1\n\n\ndef g():\n    return 1\n"
    assert planted(text, Fault("slots.py", "return 1", "return 2", "None.", inside="g")).endswith(
        "return 2\n"
    )
    with pytest.raises(Stale, match="h is defined 0 times"):
        planted(text, Fault("slots.py", "return 1", "return 2", "None.", inside="h"))


@pytest.fixture
def meadow(tmp_path: Path) -> Garden:
    """A garden that is about to be given suites of its own."""
    return Garden(tmp_path)


def suite(folder: Path, name: str, text: str) -> tuple[str, ...]:
    (folder / f"test_{name}.py").write_text(f"import pytest\n\n\n{text}\n")
    return (f"test_{name}.py",)


def test_a_suite_that_does_not_end_in_time_decides_nothing(meadow: Garden, tmp_path: Path) -> None:
    endless = suite(tmp_path, "endless", "def test_it():\n    while True:\n        pass")
    meadow.limits_s[endless] = 5.0
    assert meadow.judge(endless) is Noticed.UNDECIDED
    own = suite(tmp_path, "own", "@pytest.mark.timeout(1)\ndef test_it():\n    while True:\n        pass")
    meadow.limits_s[own] = 200.0
    assert meadow.judge(own) is Noticed.UNDECIDED


def test_how_long_a_suite_may_take_is_measured_and_one_that_is_red_measures_nothing(
    meadow: Garden, tmp_path: Path
) -> None:
    green = suite(tmp_path, "green", "def test_it():\n    pass")
    meadow.measure(green)
    assert meadow.limits_s[green] > BESIDES_S
    assert meadow.judge(green) is Noticed.SURVIVED
    with pytest.raises(AssertionError, match="not green without any fault"):
        meadow.measure(suite(tmp_path, "red", "def test_it():\n    assert False"))


@pytest.mark.timeout(900)
def test_a_sample_of_the_faults_is_noticed(meadow: Garden) -> None:
    meadow.measure(CORE[0])
    assert len(SAMPLE) >= 4
    for fault in SAMPLE:
        noticed = meadow.try_out(fault, CORE[0])
        assert noticed is Noticed.CAUGHT, f"{fault.path}: {fault.wrong}: {fault.harm}"
