"""Files of the run directory: a pin that cannot be read changes nothing."""

from pathlib import Path

from router.core.channel import RUN_FILES
from router.files import read_pin


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
