"""The contract of the `Store`, for the stores that need nothing but this process."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.adapters.kubernetes.actions import INDEX
from controller.adapters.sqlite import SqliteStore
from controller.core.status import Action, Status, Verb
from controller.crd.actions import ACTION_KIND
from controller.crd.models import KIND
from tests.contract.store.kubernetes import People, store_over, until
from tests.contract.store.suite import DOCUMENT, KEY, AnyStore, Called, decision, document, recorded
from tests.controller.adapters.kubernetes.memory_cluster import Cluster, Copy
from tests.controller.memory_store import MemoryStore


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


class OwnDocuments(AnyStore):
    """A store that people's documents are kept in as well: it numbers them itself, and takes actions from us."""

    def test_a_rollout_created_again_goes_on_counting_its_documents(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        store.put_document(KEY, document(target="v7"))
        store.record(KEY, recorded(decision(Status(generation=57))))
        store.delete(KEY)
        assert store.put_document(KEY, DOCUMENT).generation == 3

    def test_a_document_comes_back_as_it_was_whatever_it_is(self, store: Called) -> None:
        odd = {"kind": "ModelRollout", "spec": {"weights": ["5%", 1e-5, None, True], "": "« zurück »"}}
        assert store.put_document(KEY, odd).document == odd

    def test_an_action_with_another_rollouts_id_is_refused_and_not_dropped_in_silence(
        self, store: Called
    ) -> None:
        for key in ("default/fraud", "default/search"):
            store.put_document(key, document(key))
        store.add_action("default/fraud", Action("a1", Verb.PAUSE, "v2", "ann"))
        with pytest.raises(ValueError, match="default/fraud"):
            store.add_action("default/search", Action("a1", Verb.PAUSE, "v2", "ann"))


class TestSqliteStore(OwnDocuments):
    @pytest.fixture
    def store(self, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Called]:
        with closing(SqliteStore(tmp_path / "state.db")) as made:
            yield Called(made, runner)


class TestMemoryStore(OwnDocuments):
    @pytest.fixture
    def store(self, runner: asyncio.Runner) -> Called:
        return Called(MemoryStore(), runner)


class TestKubernetesStore(AnyStore):
    """Over an API server in memory; the same over a real one is in tests/cluster."""

    @pytest.fixture
    def store(self, runner: asyncio.Runner) -> Called:
        cluster = Cluster()
        rollouts, actions = Copy(cluster, KIND), Copy(cluster, ACTION_KIND, INDEX)
        made = store_over(cluster, rollouts, actions)
        return Called(People(made, cluster, until), runner)
