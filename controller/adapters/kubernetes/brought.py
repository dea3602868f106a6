"""A version behind a Service that the user brought: what is seen of it. Nothing of it is ever written.

Endpoints come from the Service's EndpointSlices. The Deployment, if the version names it, else the pods that the Service
selects, say why there are too few of them.
"""

from dataclasses import dataclass
from typing import Final

from controller.adapters.kubernetes import endpoints, pods
from controller.adapters.kubernetes.copies import DEPLOYMENTS, PODS, SERVICES, Copies, Looked
from controller.adapters.kubernetes.pods import Pods
from controller.adapters.kubernetes.raw import mapping
from controller.core.status import VersionObserved

NOTHING_KNOWN: Final = Pods()


@dataclass(frozen=True, slots=True)
class Brought:
    """What a version names: a Service and its port, and the Deployment behind it ("" if it names none)."""

    namespace: str
    service: str
    port: int | str
    deployment: str = ""
    is_made: bool = False
    """Did we make it? Then it is no trouble that its Service has no endpoints yet."""

    def observed(self, copies: Copies) -> tuple[VersionObserved, tuple[Looked, ...]]:
        """What the copies say of it now, and the objects that this depends on."""
        name = f"{self.namespace}/{self.service}"
        service = copies.services.get(name)
        found = endpoints.published(service, copies.slices_of(name), name, self.port)
        told, looked = [endpoints.described(found, name)], [(SERVICES, name)]
        trouble = "" if self.is_made or found.is_soon else found.fault
        known = NOTHING_KNOWN
        if self.deployment:
            known = pods.examined(copies.pods_behind(f"{self.namespace}/{self.deployment}"))
            wrong, is_grave = self._of_deployment(copies, known)
            told.append(wrong)
            trouble = trouble or wrong * is_grave
            looked.append((DEPLOYMENTS, f"{self.namespace}/{self.deployment}"))
        elif service is not None and len(found.endpoints) < max(found.known, 1):
            known = pods.examined(copies.pods_selected(service))
            told.append(known.trouble)
            trouble = known.trouble * known.is_grave or trouble
            looked.append((PODS, self.namespace))
        seen = VersionObserved(
            endpoints=found.endpoints,
            is_running=bool(found.known or known.ready or known.restarts),
            is_crash_looping=known.is_crash_looping and not found.endpoints,
            restarts=known.restarts,
            message="; ".join(filter(None, told)),
            trouble="" if found.endpoints else trouble,
        )
        return seen, tuple(looked)

    def _of_deployment(self, copies: Copies, known: Pods) -> tuple[str, bool]:
        """What is wrong with the Deployment or its pods, "" if nothing is; and whether a person has to mend it."""
        name = f"{self.namespace}/{self.deployment}"
        deployment = copies.deployments.get(name)
        if deployment is None:
            return f"there is no Deployment {name}: create it, or correct the version's deployment", True
        if mapping(deployment, "spec").get("replicas") == 0:
            scale = f"kubectl -n {self.namespace} scale deployment/{self.deployment} --replicas=1"
            return f"Deployment {name} is scaled to 0: {scale}", True
        refused = pods.refused(deployment)
        return refused or known.trouble, bool(refused) or known.is_grave
