"""The API over the store it has in local mode."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.adapters.sqlite import SqliteStore
from tests.controller.api.served import Api, served


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with closing(SqliteStore(tmp_path / "state.db")) as store, served(store) as running:
        yield running
