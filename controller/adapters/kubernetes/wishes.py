"""What a rollout asks of what was there before it: a Service to take over, a Deployment to adopt; and why not yet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.adapters.kubernetes.adopted import ScaleDown
from controller.adapters.kubernetes.raw import key_of, mapping, text
from controller.core.status import Status, VersionRef

Object = Mapping[str, Any]


class Waits(Exception):
    """Why nothing is written now; `is_stuck`: until a person does something about it."""

    def __init__(self, why: str, *, is_stuck: bool = False) -> None:
        super().__init__(why)
        self.is_stuck = is_stuck


@dataclass(frozen=True, slots=True)
class Wish:
    """What the rollout asks for. `is_leaving`: it goes, and users have to be led past its routers."""

    key: str
    spec: Object
    stable: VersionRef | None
    is_leaving: bool

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def rollout(self) -> str:
        return self.key.partition("/")[2]

    @property
    def service(self) -> str:
        """`namespace/name` of the Service to take over; "" for none."""
        return "" if self.is_leaving else taken_over(self.key, self.spec)

    @property
    def deployment(self) -> str:
        """`namespace/name` of the Deployment to adopt; "" for none."""
        return "" if self.is_leaving else adopted(self.key, self.spec)

    @property
    def scale_down(self) -> ScaleDown:
        """When the adopted Deployment's pods go."""
        return ScaleDown(text(self.spec, "workloadRef", "scaleDown") or ScaleDown.NEVER)

    @property
    def keeps(self) -> bool:
        """Do its own pods stay when it goes?"""
        return text(self.spec, "deletionPolicy") == "Orphan"


def wish_of(rollout: Object, status: Status, *, is_leaving: bool) -> Wish:
    """What this ModelRollout, as the API server has it, asks for."""
    key = f"{text(rollout, 'metadata', 'namespace')}/{text(rollout, 'metadata', 'name')}"
    return Wish(key, mapping(rollout, "spec"), status.stable, is_leaving)


def taken_over(key: str, spec: Object) -> str:
    """`namespace/name` of the Service that the spec names; "" if it names none."""
    name = text(spec, "traffic", "router", "takeOver")
    return f"{key.partition('/')[0]}/{name}" if name else ""


def by_adopted(rollout: Object) -> Iterator[str]:
    """For an index: the Deployment that a ModelRollout asks for, `namespace/name`."""
    name = adopted(key_of(rollout), mapping(rollout, "spec"))
    if name:
        yield name


def adopted(key: str, spec: Object) -> str:
    """The same of the Deployment."""
    name = text(spec, "workloadRef", "name")
    return f"{key.partition('/')[0]}/{name}" if name else ""
