"""Files that are old or new, never half."""

import subprocess
import sys
from pathlib import Path

import pytest

from router.files import replace_file

# A process that may not write more than 100 bytes into a file tries to.
TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from router.files import replace_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    replace_file(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(error.strerror)
"""


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    for content in (b"old", b"", b"new" * 10_000):
        replace_file(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", TOO_MUCH, str(tmp_path / "file")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_reader_that_has_it_open_keeps_what_it_began_to_read(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")
    with (tmp_path / "file").open("rb") as reader:
        replace_file(tmp_path / "file", b"new")
        assert reader.read() == b"old"


def test_a_folder_that_is_gone_is_an_error_of_the_operating_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "gone" / "file", b"")
