"""What the API server stored of the rollouts of a namespace, version by version, and the invariants over that."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from controller.adapters.kubernetes import status as packed
from controller.core import slots
from controller.core.status import Reason, Status
from headgate.wire.plan import SLOTS
from tests.cluster.testbed.cluster import Testbed, wait_for

Object = Mapping[str, Any]
SILENT_S = 20.0
ONCE = (Reason.WEIGHT_RAISED, Reason.PROMOTED, Reason.ROLLING_BACK)


@dataclass
class Recorded:
    """Every version of the objects of one kind in a namespace, oldest first, from `with` to its end."""

    cluster: Testbed
    path: str
    versions: list[Object] = field(default_factory=list)
    present: dict[str, Object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._listed = threading.Event()
        self._position = ""
        self._thread = threading.Thread(target=self._run, name=f"records {self.path}", daemon=True)

    def __enter__(self) -> "Recorded":
        self._thread.start()
        wait_for(self._listed.is_set, f"the first list of {self.path}")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # the thread sees it when its watch ends, and nobody needs to wait for that

    def of(self, name: str) -> list[Object]:
        """The versions of this object, of the last life of its name."""
        found = [one for one in tuple(self.versions) if one["metadata"]["name"] == name]
        return [one for one in found if one["metadata"]["uid"] == found[-1]["metadata"]["uid"]]

    def _run(self) -> None:
        with self.cluster.client(timeout_s=5.0) as client:
            while not self._over.is_set():
                try:
                    self._follow(client)
                except (httpx.HTTPError, KeyError, ValueError):  # away, or silent: again from where it was
                    self._over.wait(0.1)

    def _follow(self, client: httpx.Client) -> None:
        if not self._position:
            self._list(client)
        params = {"watch": "1", "resourceVersion": self._position, "timeoutSeconds": "10"}
        with client.stream("GET", self.path, params=params, timeout=SILENT_S) as answer:
            for line in answer.iter_lines():
                self._take(json.loads(line))
                if self._over.is_set():
                    return

    def _list(self, client: httpx.Client) -> None:
        found = client.get(self.path).raise_for_status().json()
        for item in found["items"]:
            self._keep(item)
        for name in set(self.present) - {item["metadata"]["name"] for item in found["items"]}:
            del self.present[name]
        self._position = found["metadata"]["resourceVersion"]
        self._listed.set()

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            self._position = ""
            return
        metadata = event["object"]["metadata"]
        self._position = metadata["resourceVersion"]
        self._keep(event["object"])
        if event["type"] == "DELETED":
            del self.present[metadata["name"]]

    def _keep(self, item: Object) -> None:
        self.versions.append(item)
        self.present[item["metadata"]["name"]] = item


def remembered(version: Object) -> Status | None:
    """What the core had stored in this version of a rollout; None before its first word, or if that is damaged."""
    state = version.get("status", {}).get("state")
    try:
        return packed.decode(state).status if state else None
    except packed.Unreadable:
        return None


def broken(versions: list[Object]) -> list[str]:
    """What the history of one rollout breaks of the invariants that can be seen in it; a sentence each."""
    known = [(one, status) for one in versions if (status := remembered(one)) is not None]
    found = [f"I2: {status.slots} are not {SLOTS}" for _, status in known if not _adds_up(status)]
    for (_, before), (version, after) in itertools.pairwise(known):
        found += [f"at {version['metadata']['resourceVersion']}: {what}" for what in _steps(before, after)]
        found += [
            f"at {version['metadata']['resourceVersion']}: {what}" for what in _raised(before, after, version)
        ]
    return [*found, *_twice(versions)]


def _adds_up(status: Status) -> bool:
    return not status.slots or sum(owned.end - owned.start for owned in status.slots) == SLOTS


def _steps(before: Status, after: Status) -> Iterator[str]:
    """What may only go one way."""
    if after.epoch < before.epoch:
        yield f"I6: epoch {after.epoch} after {before.epoch}"
    if after.observed_generation < before.observed_generation:
        yield f"generation {after.observed_generation} after {before.observed_generation}"
    if after.generation < before.generation:
        yield f"I6: plan {after.generation} after {before.generation}"
    if set(before.handled) - set(after.handled):
        yield f"I16: {before.handled} were handled, then {after.handled}"
    for failed in before.failed:
        had, has = (slots.weight_of(status.slots, failed.name) for status in (before, after))
        if failed.is_latched and has > had and failed in after.failed:
            yield f"I3: {failed.name} has failed and went from {had} to {has}"


def _raised(before: Status, after: Status, version: Object) -> Iterator[str]:
    """A raise is in the same write as its record."""
    names = {owned.version for owned in after.slots}
    stable = after.stable.name if after.stable else ""
    recorded = {
        (one["version"], one["weightAfter"])
        for one in version["status"].get("decisions", ())
        if one["reason"] in ONCE
    }
    for name in names - {stable}:
        had, has = slots.weight_of(before.slots, name), slots.weight_of(after.slots, name)
        if has > had and (name, f"{has / 100:g}%") not in recorded:
            yield f"I5: {name} rose from {had} to {has} without a record"


def _twice(versions: list[Object]) -> Iterator[str]:
    """What may happen once in a story, and is in the last version's decisions more often."""
    decisions = versions[-1].get("status", {}).get("decisions", []) if versions else []
    said = Counter(
        (one["reason"], one["version"], one["weightAfter"]) for one in decisions if one["reason"] in ONCE
    )
    yield from (f"I5: {what} is recorded {count} times" for what, count in said.items() if count > 1)
