from collections.abc import Iterator

import pytest

from tests.controller.api.served import Api, served


@pytest.fixture
def api() -> Iterator[Api]:
    with served() as running:
        yield running
