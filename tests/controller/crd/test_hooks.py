"""Hooks and notifications as people write them."""

import pytest

from controller.core import effects
from controller.core.spec import Spec
from controller.crd import Fault, Refused, parse, to_core
from tests.controller.crd.specs import Document, changed

GATE = {"name": "gate", "at": "before-increase", "url": "https://hooks.example/gate?team=fraud"}
CHAT = {"to": "chat", "on": ["paused", "rolled-back", "promoted"]}


def compiled(**fields: object) -> Spec:
    found = to_core(changed(lambda spec: spec.update(fields)), 1)
    assert isinstance(found, Spec), found
    return found


def faults(document: Document, **known: tuple[str, ...]) -> list[Fault]:
    found = parse(document, **known)
    return list(found.faults) if isinstance(found, Refused) else []


def test_a_hook_has_defaults_for_all_but_its_name_moment_and_url() -> None:
    (hook,) = compiled(hooks=[GATE]).hooks
    assert hook == effects.Hook(
        "gate", effects.HookAt.BEFORE_INCREASE, GATE["url"], 10.0, 3, effects.OnFail.HOLD
    )


def test_a_hook_may_be_written_in_full() -> None:
    (hook,) = compiled(hooks=[GATE | {"timeout": "2s", "retries": 0, "onFail": "rollback"}]).hooks
    assert (hook.timeout_s, hook.retries, hook.on_fail) == (2.0, 0, effects.OnFail.ROLLBACK)


def test_a_notification_names_what_happens_and_a_sink() -> None:
    (told,) = compiled(notifications=[CHAT]).notifications
    assert told == effects.Notification("chat", ("paused", "rolled-back", "promoted"))


@pytest.mark.parametrize(
    ("change", "path", "sentence"),
    [
        ({"at": "before-lunch"}, "at", "is none of"),
        ({"url": "ftp://hooks.example/"}, "url", "is not a hook's URL"),
        ({"url": "https://ann:secret@hooks.example/"}, "url", "is not a hook's URL"),
        ({"url": "https://hooks.example/#here"}, "url", "is not a hook's URL"),
        ({"url": "https://hooks.example/a b"}, "url", "is not a hook's URL"),
        ({"timeout": "1h"}, "timeout", "from 100ms to 5m"),
        ({"retries": 100}, "retries", "at most 20"),
        ({"onFail": "shrug"}, "onFail", "is none of"),
        ({"job": {}}, "job", "jobs need the Kubernetes controller; write url"),
    ],
)
def test_a_hook_that_means_nothing_is_refused(change: Document, path: str, sentence: str) -> None:
    (fault,) = faults(changed(lambda spec: spec.update(hooks=[GATE | change])))
    assert fault.path == f"spec.hooks[0].{path}"
    assert sentence in fault.message


def test_a_notification_of_what_never_happens_is_refused_with_what_does() -> None:
    (fault,) = faults(changed(lambda spec: spec.update(notifications=[CHAT | {"on": ["rollback"]}])))
    assert fault.path == "spec.notifications[0].on[0]"
    assert "rolled-back" in fault.message


def test_a_sink_must_be_one_that_the_controller_was_started_with() -> None:
    document = changed(lambda spec: spec.update(notifications=[CHAT]))
    (fault,) = faults(document, sinks=("pager",))
    assert (fault.rule, fault.path) == ("known-sink", "spec.notifications[0].to")
    assert "(pager): --sink chat=URL adds it" in fault.message
    assert faults(document, sinks=("chat",)) == []
    assert faults(document) == []
