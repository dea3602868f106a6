"""RolloutAction: what a person asks a rollout to do on Kubernetes, as an object of its own.

An object, so that RBAC can give somebody *rollback* without *edit*, Git stays clean, and the audit log has the actor.
It names the version (and stage) it means, and never changes: what was asked is asked.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from controller.core.status import Verb
from controller.crd.faults import Fault, Refused, from_pydantic
from controller.crd.models import Metadata, Model, Name
from controller.crd.parse import as_written, unfit
from controller.crd.table import Finding, Form, Rule

ACTION_KIND: Final = "RolloutAction"
STAGE_MAX: Final = 1000

_VERBS: Final = [verb.value for verb in Verb]


def _verb(text: str) -> str:
    if text not in _VERBS:
        raise PydanticCustomError(
            "choice", "{shown} is none of {known}", {"shown": repr(text)[:80], "known": ", ".join(_VERBS)}
        )
    return text


VerbName = Annotated[str, AfterValidator(_verb), WithJsonSchema({"type": "string", "enum": _VERBS})]


class ActionSpec(Model):
    """What is asked for. It cannot be changed: make another action."""

    rollout: Name
    """The ModelRollout, in the same namespace."""
    action: VerbName
    """rollback takes all traffic off; promote ends the stage; promote-full ends all; undo makes an earlier version the target; restart replaces pods."""
    version: Name
    """The version that is meant, such as v8; for another one the action is refused, never guessed."""
    stage: Annotated[int, Field(ge=1, le=STAGE_MAX)] | None = None
    """The stage that is meant, from 1: for skip-stage and approve."""
    to: Name | None = None
    """For undo: the version to go back to; left out, the one that was stable before."""
    roles: Annotated[list[Name], Field(max_length=16)] | None = None
    """For approve: the roles in which you approve; the admission policy asks whether you may use them."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """Why, for the record: status, events and history show it."""
    requested_by: Annotated[str, Field(min_length=1, max_length=512)]
    """Your own user name, as kubectl auth whoami says it; an admission policy holds it against who asks."""


class RolloutAction(Model):
    """One action as somebody asked for it."""

    api_version: Literal["headgate.dev/v1alpha1"]
    kind: Literal["RolloutAction"]
    metadata: Metadata
    spec: ActionSpec


def _stage_meant(action: RolloutAction) -> Iterator[Finding]:
    asked = action.spec
    if asked.action == Verb.SKIP_STAGE and asked.stage is None:
        yield "spec.stage", "skip-stage leaves one stage out: say which, from 1"
    if asked.stage is not None and asked.action not in (Verb.SKIP_STAGE, Verb.APPROVE):
        yield "spec.stage", f"{asked.action} is of no one stage: leave it out"


def _to_meant(action: RolloutAction) -> Iterator[Finding]:
    if action.spec.to is not None and action.spec.action != Verb.UNDO:
        yield "spec.to", f"{action.spec.action} goes back to no version of its own: only undo has to"


def _roles_meant(action: RolloutAction) -> Iterator[Finding]:
    if action.spec.roles is not None and action.spec.action != Verb.APPROVE:
        yield "spec.roles", f"{action.spec.action} is done in no role: only approve has roles"


def _never(action: RolloutAction) -> Iterator[Finding]:
    yield from ()


ACTION_RULES: Final = (
    Rule(
        "stage-meant",
        _stage_meant,
        (
            Form(
                "ActionSpec",
                'self.action != "skip-stage" || has(self.stage)',
                "skip-stage leaves one stage out: say which, from 1",
                path=".stage",
            ),
            Form(
                "ActionSpec",
                '!has(self.stage) || self.action in ["skip-stage", "approve"]',
                "%s is of no one stage: leave it out",
                ("self.action",),
                path=".stage",
            ),
        ),
    ),
    Rule(
        "to-meant",
        _to_meant,
        (
            Form(
                "ActionSpec",
                '!has(self.to) || self.action == "undo"',
                "%s goes back to no version of its own: only undo has to",
                ("self.action",),
                path=".to",
            ),
        ),
    ),
    Rule(
        "roles-meant",
        _roles_meant,
        (
            Form(
                "ActionSpec",
                '!has(self.roles) || self.action == "approve"',
                "%s is done in no role: only approve has roles",
                ("self.action",),
                path=".roles",
            ),
        ),
    ),
    Rule(
        "immutable",
        _never,  # one document alone has not changed
        (Form("ActionSpec", "self == oldSelf", "what was asked is asked: make another action"),),
    ),
)


def parse_action(document: object) -> RolloutAction | Refused:
    """The action, or every fault found."""
    if not isinstance(document, Mapping):
        return Refused((Fault("", "type", f"an action is a mapping, with kind: {ACTION_KIND}"),))
    misfit = unfit(document)
    if misfit is not None:
        return Refused((misfit,))
    try:
        action = RolloutAction.model_validate(as_written(document))
    except ValidationError as error:
        return Refused(from_pydantic(error, RolloutAction))
    faults = tuple(Fault(path, rule.name, text) for rule in ACTION_RULES for path, text in rule.find(action))
    return Refused(faults) if faults else action
