"""Every test of the agent gets a bench to build on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.router.agent.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()
