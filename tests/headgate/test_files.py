"""Files replaced whole: old or new, never half, and for their owner only."""

from pathlib import Path

import pytest

from headgate.files import replace_file


def test_a_file_is_replaced_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "note"
    replace_file(path, b"one")
    replace_file(path, b"two", is_durable=False)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["note"]


def test_what_cannot_be_written_leaves_the_old_content_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "kept").touch()
    with pytest.raises(OSError, match="folder"):
        replace_file(path, b"new")
    assert (path / "kept").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
