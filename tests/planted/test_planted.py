"""Every planted fault still fits the code, and a sample of them is noticed; `make planted` tries them all."""

from pathlib import Path

import pytest

from tests.planted.faults import FAULTS
from tests.planted.plant import ROOT, Fault, Garden, Noticed, Stale, planted

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


@pytest.mark.timeout(600)
def test_a_sample_of_the_faults_is_noticed(tmp_path: Path) -> None:
    garden = Garden(tmp_path)
    assert garden.judge(("tests/transcripts",)) is Noticed.SURVIVED, (
        "the transcripts are not green without any fault"
    )
    assert len(SAMPLE) >= 4
    for fault in SAMPLE:
        assert garden.try_out(fault) is Noticed.CAUGHT, f"{fault.path}: {fault.wrong}: {fault.harm}"
