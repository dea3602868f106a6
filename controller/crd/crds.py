"""The CustomResourceDefinitions: the generated schemas in what Kubernetes wants around them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.crd.actions import ACTION_KIND, ACTION_RULES, ActionSpec
from controller.crd.cel import Validation
from controller.crd.forms import CHANGES
from controller.crd.models import KIND, RolloutSpec
from controller.crd.published import ActionStatus, RolloutStatus
from controller.crd.rules import RULES
from controller.crd.schema import structural
from controller.crd.table import validations

GROUP: Final = "headgate.dev"
VERSION: Final = "v1alpha1"
CATEGORY: Final = "headgate"

_NAME: Final = {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
"""It becomes a label of what belongs to the object."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; the wide ones only with `-o wide`."""

    name: str
    path: str
    kind: str = "string"
    is_wide: bool = False
    text: str = ""

    def printed(self) -> dict[str, Any]:
        """The entry of additionalPrinterColumns."""
        found: dict[str, Any] = {"name": self.name, "type": self.kind, "jsonPath": self.path}
        found |= {"description": self.text} if self.text else {}
        return found | ({"priority": 1} if self.is_wide else {})


_AGE: Final = Column("AGE", ".metadata.creationTimestamp", "date")
_ROLLOUT_COLUMNS: Final = (
    Column("STRATEGY", ".status.strategy", text="canary, blueGreen, shadow or stages"),
    Column("PHASE", ".status.phase", text="Healthy, Progressing, Paused, RollingBack, RolledBack, Stalled"),
    Column("STAGE", ".status.stage", text="the stage the candidate is in"),
    Column("WEIGHT", ".status.weights.acknowledged", text="the candidate's share as routers have it"),
    Column("STABLE", ".status.stableVersion", text="the version that serves, proven"),
    Column("CANDIDATE", ".status.candidateVersion", text="the version on trial"),
    Column("VERDICT", ".status.verdict", text="what the checks say together"),
    Column("WAITING-FOR", ".status.waitingFor", text="what has to happen before anything moves"),
    Column("SAMPLES", ".status.samples", is_wide=True, text="evidence so far"),
    Column("NEXT", ".status.nextActionAt", is_wide=True, text="when something happens next"),
    _AGE,
)
_ACTION_COLUMNS: Final = (
    Column("ROLLOUT", ".spec.rollout"),
    Column("ACTION", ".spec.action"),
    Column("VERSION", ".spec.version"),
    Column("BY", ".spec.requestedBy"),
    Column("PHASE", ".status.phase"),
    Column("MESSAGE", ".status.message"),
    Column("REASON", ".spec.reason", is_wide=True),
    _AGE,
)


def model_rollouts() -> dict[str, Any]:
    """The CustomResourceDefinition of ModelRollout."""
    rules, changes = validations(RULES), _changes()
    schema = _root(
        "A new version of a model, taken into production without hurting anyone: what serves, how traffic moves to "
        "it, and which evidence it needs.",
        structural(RolloutSpec, {**rules, "RolloutSpec": [*rules["RolloutSpec"], *changes["RolloutSpec"]]}),
        structural(RolloutStatus, {}),
    )
    schema["x-kubernetes-validations"] = changes["ModelRollout"]
    subresources = {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    return _definition(KIND, "modelrollouts", "mro", schema, _ROLLOUT_COLUMNS, subresources)


def _changes() -> dict[str, list[Validation]]:
    found: dict[str, list[Validation]] = {}
    for rule, form in CHANGES.items():
        found.setdefault(form.on, []).append(form.validation(rule))
    return found


def rollout_actions() -> dict[str, Any]:
    """The CustomResourceDefinition of RolloutAction."""
    schema = _root(
        "What a person asks a ModelRollout to do: roll back, promote, pause, approve and so on. It never changes; ask "
        "again with another one.",
        structural(ActionSpec, validations(ACTION_RULES)),
        structural(ActionStatus, {}),
    )
    return _definition(ACTION_KIND, "rolloutactions", "mra", schema, _ACTION_COLUMNS, {"status": {}})


def _root(text: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": text,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": _NAME}},
            "spec": spec,
            "status": status,
        },
    }


def _definition(
    kind: str,
    plural: str,
    short: str,
    schema: Mapping[str, Any],
    columns: Sequence[Column],
    subresources: Mapping[str, Any],
) -> dict[str, Any]:
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": subresources,
        "additionalPrinterColumns": [column.printed() for column in columns],
    }
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": [short],
        "categories": [CATEGORY],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
