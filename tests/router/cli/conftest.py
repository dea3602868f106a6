"""Every test of the verb gets a stage with two model servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.router.cli.served import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    yield found
    found.close()
