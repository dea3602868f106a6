"""The copy of a collection: what comes late, twice or out of order cannot set it back, and a bad object harms no other."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.kubernetes.mirror import GRAVES_MAX, Mirror, Object, key_of, number_of
from headgate.log import Log


def obj(name: str, version: int | str, **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a", "resourceVersion": str(version)}, "spec": spec}


def by_owner(found: Object) -> Iterable[str]:
    return [found["spec"]["owner"]] if "owner" in found["spec"] else []


class Told:
    """A mirror and what it said."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str | None, str | None]] = []
        self.mirror = Mirror("things", self.on_change, Log("test"), {"owner": by_owner})

    def on_change(self, key: str, before: Object | None, after: Object | None) -> None:
        def version(one: Object | None) -> str | None:
            return None if one is None else one["metadata"]["resourceVersion"]

        self.changes.append((key, version(before), version(after)))

    def version(self, name: str) -> str | None:
        found = self.mirror.get(f"a/{name}")
        return None if found is None else found["metadata"]["resourceVersion"]

    def list(self, version: int, *objects: object) -> int:
        seen: set[str] = set()
        lost = self.mirror.adopt(objects, version, seen)
        self.mirror.listed(seen, version)
        return lost

    def event(self, kind: str, what: dict[str, Any]) -> None:
        self.mirror.event(kind, what)
        self.mirror.hear(number_of(what["metadata"]["resourceVersion"]))


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_list_is_what_there_is(told: Told) -> None:
    told.list(10, obj("x", 5), obj("y", 7))
    told.list(20, obj("x", 15))
    assert told.mirror.keys() == ("a/x",)
    assert told.changes == [("a/x", None, "5"), ("a/y", None, "7"), ("a/x", "5", "15"), ("a/y", "7", None)]


def test_events_change_the_copy(told: Told) -> None:
    told.list(10)
    told.event("ADDED", obj("x", 11))
    told.event("MODIFIED", obj("x", 12))
    told.event("DELETED", obj("x", 13))
    assert told.changes == [("a/x", None, "11"), ("a/x", "11", "12"), ("a/x", "12", None)]


def test_an_own_write_is_seen_at_once_and_its_event_says_nothing_new(told: Told) -> None:
    told.list(10, obj("x", 5))
    assert told.mirror.put(obj("x", 12, mine=True))
    told.event("MODIFIED", obj("x", 11))
    assert told.version("x") == "12"
    told.event("MODIFIED", obj("x", 12, mine=True))
    assert told.changes[1:] == [("a/x", "5", "12")]


def test_the_answer_to_an_own_write_that_comes_late_is_passed_over(told: Told) -> None:
    told.list(10, obj("x", 5))
    told.event("MODIFIED", obj("x", 13))
    assert not told.mirror.put(obj("x", 12))
    assert told.version("x") == "13"


def test_an_own_write_does_not_bring_back_what_was_deleted_since(told: Told) -> None:
    told.list(10, obj("x", 5))
    told.event("DELETED", obj("x", 13))
    assert not told.mirror.put(obj("x", 12))
    assert told.version("x") is None


def test_an_own_write_of_before_a_list_that_lacks_it_does_not_bring_it_back(told: Told) -> None:
    told.list(20)
    assert not told.mirror.put(obj("x", 12))
    assert told.mirror.keys() == ()


def test_the_deletion_of_an_earlier_object_does_not_take_the_one_created_since(told: Told) -> None:
    told.list(10, obj("x", 5))
    told.mirror.put(obj("x", 13))
    told.event("DELETED", obj("x", 11))
    assert told.version("x") == "13"


def test_an_event_of_before_the_deletion_does_not_bring_it_back(told: Told) -> None:
    told.list(10, obj("x", 5))
    told.event("DELETED", obj("x", 13))
    told.event("MODIFIED", obj("x", 12))
    assert told.version("x") is None
    told.event("ADDED", obj("x", 14))
    assert told.version("x") == "14"


def test_events_of_different_objects_may_come_in_any_order(told: Told) -> None:
    told.list(10)
    told.event("ADDED", obj("y", 12))
    told.event("ADDED", obj("x", 11))
    assert (told.version("x"), told.version("y")) == ("11", "12")


def test_what_was_put_after_the_list_was_made_stays(told: Told) -> None:
    told.list(10, obj("x", 5), obj("z", 6))
    told.mirror.put(obj("x", 22))
    told.mirror.put(obj("new", 23))
    told.list(20, obj("x", 15), obj("z", 6))
    assert (told.version("x"), told.version("new"), told.version("z")) == ("22", "23", "6")


def test_a_server_that_went_back_in_time_is_believed(told: Told) -> None:
    told.list(90, obj("x", 80), obj("y", 85))
    told.mirror.distrust()
    told.list(50, obj("x", 40))
    assert (told.version("x"), told.version("y")) == ("40", None)
    told.event("MODIFIED", obj("x", 51))
    assert told.version("x") == "51"


def test_changes_that_the_watch_should_have_told_are_counted(told: Told) -> None:
    told.list(10, obj("x", 5))
    told.event("ADDED", obj("y", 20))
    assert told.list(30, obj("x", 15), obj("y", 25)) == 1
    assert told.list(40, obj("x", 15), obj("y", 25)) == 0


def test_a_version_that_is_no_number_is_taken_as_it_comes(told: Told) -> None:
    told.mirror.put(obj("x", "abc"))
    told.mirror.event("MODIFIED", obj("x", "abb"))
    assert told.version("x") == "abb"
    told.mirror.event("DELETED", obj("x", "aaa"))
    assert told.version("x") is None
    assert number_of("١٢") is None
    assert number_of("9" * 30) is None


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "text",
        [],
        {},
        {"metadata": None},
        {"metadata": []},
        {"metadata": {"name": "x"}},
        {"metadata": {"name": "", "resourceVersion": "1"}},
        {"metadata": {"name": 7, "resourceVersion": "1"}},
        {"metadata": {"name": "x", "namespace": 3, "resourceVersion": "1"}},
        {"metadata": {"name": "x", "resourceVersion": 1}},
    ],
)
def test_what_is_no_object_is_counted_and_passed_over(told: Told, bad: object) -> None:
    assert key_of(bad) is None
    told.list(10, obj("x", 5), bad, obj("y", 6))
    told.mirror.event("ADDED", bad)
    assert told.mirror.keys() == ("a/x", "a/y")
    assert told.mirror.skipped == 2


def test_an_index_follows_its_objects(told: Told) -> None:
    told.list(10, obj("x", 5, owner="m"), obj("y", 6, owner="m"), obj("z", 7))
    assert [one["metadata"]["name"] for one in told.mirror.indexed("owner", "m")] == ["x", "y"]
    told.event("MODIFIED", obj("x", 11, owner="n"))
    told.event("DELETED", obj("y", 12))
    assert told.mirror.indexed("owner", "m") == ()
    assert [one["metadata"]["name"] for one in told.mirror.indexed("owner", "n")] == ["x"]
    with pytest.raises(KeyError):
        told.mirror.indexed("nothing", "m")


def test_an_object_of_an_unexpected_shape_is_kept_and_harms_no_other(
    told: Told, capfd: pytest.CaptureFixture[str]
) -> None:
    told.list(10, {**obj("x", 5), "spec": None}, obj("y", 6, owner="m"))
    assert told.mirror.keys() == ("a/x", "a/y")
    assert len(told.mirror.indexed("owner", "m")) == 1
    assert "object not indexed" in capfd.readouterr().err


def test_a_listener_that_fails_on_one_object_hears_of_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []

    def on_change(key: str, before: Object | None, after: Object | None) -> None:
        heard.append(key)
        if key == "a/x":
            raise RuntimeError("a bug")

    Mirror("things", on_change, Log("test")).adopt([obj("x", 5), obj("y", 6)], 10, set())
    assert heard == ["a/x", "a/y"]
    assert "change not handled" in capfd.readouterr().err


def test_a_cluster_scoped_object_has_a_key_too() -> None:
    assert key_of({"metadata": {"name": "x", "resourceVersion": "1"}}) == "/x"


def test_what_is_remembered_of_deletions_is_bounded(told: Told) -> None:
    for number in range(GRAVES_MAX + 10):
        told.mirror.event("DELETED", obj(f"x{number}", number + 1))
    assert len(told.mirror._graves) == GRAVES_MAX


def test_an_old_deletion_told_again_brings_nothing_back_that_was_deleted_since(told: Told) -> None:
    told.list(10)
    for kind, version in (("ADDED", 11), ("DELETED", 12), ("ADDED", 13), ("DELETED", 14)):
        told.event(kind, obj("x", version))
    told.event("DELETED", obj("x", 12))
    told.event("ADDED", obj("x", 13))
    assert list(told.mirror.values()) == []


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, str | None]]:
    """A true history of three objects: (name, version, value or None for deleted)."""
    living: set[str] = set()
    history: list[tuple[str, int, str | None]] = []
    for version in range(11, 11 + draw(st.integers(1, 12))):
        name = draw(st.sampled_from("xyz"))
        is_deleted = name in living and draw(st.booleans())
        living = living - {name} if is_deleted else living | {name}
        history.append((name, version, None if is_deleted else f"v{version}"))
    return history


@given(histories(), st.data())
def test_whatever_is_doubled_repeated_or_put_in_between_the_copy_ends_as_the_truth(
    history: list[tuple[str, int, str | None]], data: st.DataObject
) -> None:
    """Events in order, with old ones told again and any own write's answer at any time, before its event or after."""
    told = Told()
    told.list(10)
    for place, (name, version, value) in enumerate(history):
        for index in data.draw(st.lists(st.integers(0, len(history) - 1), max_size=2)):
            other, written, content = history[index]
            if content is not None:
                told.mirror.put(obj(other, written, value=content))
        kind = "DELETED" if value is None else "MODIFIED"
        told.event(kind, obj(name, version, value=value))
        for index in data.draw(st.lists(st.integers(0, place), max_size=2)):
            other, written, content = history[index]
            told.event("DELETED" if content is None else "ADDED", obj(other, written, value=content))
    truth = {name: value for name, _, value in history if value is not None}
    for name, _, value in history:
        if value is None and _last(history, name) is None:
            truth.pop(name, None)
    copy = {one["metadata"]["name"]: one["spec"]["value"] for one in told.mirror.values()}
    assert copy == truth


def _last(history: list[tuple[str, int, str | None]], name: str) -> str | None:
    return [value for other, _, value in history if other == name][-1]
