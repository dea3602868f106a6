"""Log lines: constant message, then fields that a program can cut apart."""

import re
import subprocess
import sys

import pytest

from headgate.log import Log


def test_a_line_has_instant_level_process_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    Log("agent").warning("plan refused", epoch=4, why='older than "5"\nreally', nothing=None)
    said = capsys.readouterr().err
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning agent: plan refused epoch=4 why="older than \\"5\\"\\nreally"\n',
        said,
    )


def test_a_field_is_cut_before_it_floods_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    Log("agent").info("something", long="x" * 100_000)
    assert len(capsys.readouterr().err) < 1000


def test_a_stderr_that_is_gone_stops_nobody() -> None:
    program = "from headgate.log import Log; Log('agent').info('something'); print('went on')"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert done.stdout == "went on\n"
