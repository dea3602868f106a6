"""A story in which the controller dies at a write: right before the API server gets it, or before its answer comes."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import install
from tests.faults.proxy.kube import WRITES
from tests.faults.proxy.proxy import Exchange
from tests.faults.proxy.rules import KillAfter, KillBefore, Rule
from tests.faults.scene import Scene, Versions
from tests.faults.stories import End, Story, play, wrongs

Side = Literal["before", "after"]
SIDES: Final[Sequence[Side]] = ("before", "after")
FAULTS: Final[Mapping[Side, type[KillBefore] | type[KillAfter]]] = {"before": KillBefore, "after": KillAfter}
DEADLY: Final = frozenset(fault.__name__ for fault in FAULTS.values())
OF_INTEREST: Final[Mapping[str, Any]] = {"verbs": WRITES, "besides": ("leases",)}


@dataclass(frozen=True)
class Run:
    """A played story: how it ended, all its writes, those at which the controller died, and what was wrong."""

    end: End
    writes: Sequence[Exchange]
    died_at: Sequence[Exchange]
    wrongs: Sequence[str]


class Stage:
    """Where stories are played, each in a namespace of its own, with the same model servers."""

    def __init__(self, cluster: Testbed, folder: Path, versions: Versions) -> None:
        install(cluster)
        self._cluster = cluster
        self._folder = folder
        self._versions = versions
        self._client = cluster.client()

    def scene(self, name: str) -> Scene:
        """A new namespace of this name; not entered."""
        self._client.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
        folder = self._folder / name
        folder.mkdir()
        return Scene(self._cluster, name, folder, self._versions)

    def run(
        self, name: str, story: Story, side: Side = "before", deaths: Sequence[dict[str, Any]] = ()
    ) -> Run:
        """Play the story; the controller dies on that `side` of each write that a rule with these fields takes."""
        with ExitStack() as stack:
            scene = stack.enter_context(self.scene(name))
            for fields in deaths:
                scene.proxy.add(Rule(FAULTS[side](scene.kill), **{**OF_INTEREST, **fields}))
            scene.start()
            end = play(scene, story)
            writes = scene.proxy.writes(("leases",))
            died_at = [one for one in scene.proxy.record() if one.fault in DEADLY]
            found = wrongs(scene, story, end)
            if scene.reborn.lives not in (
                len(died_at),
                len(died_at) + 1,
            ):  # after the last write none is waited for
                found.append(f"{scene.reborn.lives} lives, though it was killed {len(died_at)} times")
        return Run(end, writes, died_at, found)
