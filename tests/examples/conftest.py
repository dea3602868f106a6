"""The example's modules, importable as its scripts import each other, and its models, trained once."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
sys.path.insert(0, str(DIGITS))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every version, as train.py writes it."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(
        [sys.executable, str(DIGITS / "train.py"), "--models", str(folder)], check=True, timeout=110
    )
    return folder


def address(log: Path, process: subprocess.Popen[bytes], deadline_s: float = 60) -> str:
    """Where the server says that it listens; it asked the kernel for a port."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def serve(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Starts a version's server, each once; returns its address."""
    logs = tmp_path_factory.mktemp("logs")
    processes: dict[str, subprocess.Popen[bytes]] = {}
    addresses: dict[str, str] = {}

    def start(version: str) -> str:
        if version not in processes:
            command = [sys.executable, "serve.py", "--model", version, "--port", "0", "--models", str(models)]
            with (logs / version).open("wb") as log:
                processes[version] = subprocess.Popen(command, cwd=DIGITS, stderr=log)
            addresses[version] = address(logs / version, processes[version])
        return addresses[version]

    yield start
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        process.wait(60)
