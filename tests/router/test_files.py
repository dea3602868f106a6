"""Files of the run directory: a pin that cannot be read changes nothing."""

import socket
from pathlib import Path

from router.core.channel import RUN_FILES
from router.files import read_pin, socket_path


def test_a_pin_is_the_name_in_its_file_and_none_without_one(tmp_path: Path) -> None:
    assert read_pin(tmp_path, "v8") is None
    (tmp_path / RUN_FILES.pin).write_text("v7\n")
    assert read_pin(tmp_path, None) == "v7"


def test_a_pin_that_cannot_be_read_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / RUN_FILES.pin).mkdir()
    assert read_pin(tmp_path, "v7") == "v7"
    assert read_pin(tmp_path, None) is None


def test_a_pin_that_is_no_text_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / RUN_FILES.pin).write_bytes(b"\xff\xfe\x00")
    assert read_pin(tmp_path, "v7") == "v7"


def test_sockets_are_reached_in_a_run_directory_whose_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    run = tmp_path / ("deep-" * 20) / ("deeper-" * 20)
    run.mkdir(parents=True)
    path = socket_path(run, RUN_FILES.agent_socket)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind(str(path))
        listener.listen()
        caller.connect(str(path))
    assert (run / RUN_FILES.agent_socket).is_socket()


def test_a_short_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert socket_path(Path("/run/router"), "agent.sock") == Path("/run/router/agent.sock")
