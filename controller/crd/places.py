"""What of a rollout only one of the two places can do: a cluster, or this machine alone (`headgate up`)."""

from collections.abc import Iterator
from enum import StrEnum

from controller.crd.faults import Fault
from controller.crd.models import ModelRollout
from controller.crd.takeovers import taken_over


class Place(StrEnum):
    """Where versions run."""

    CLUSTER = "cluster"
    MACHINE = "machine"


def misplaced(rollout: ModelRollout, place: Place) -> Iterator[Fault]:
    """What that place cannot do."""
    if place is Place.CLUSTER:
        yield from _needs_a_machine(rollout)
    else:
        yield from _needs_a_cluster(rollout)


def _needs_a_machine(rollout: ModelRollout) -> Iterator[Fault]:
    for index, version in enumerate(rollout.spec.versions):
        if version.process is not None:
            yield Fault(
                f"spec.versions[{index}].process",
                "place",
                "only `headgate up` starts processes: on a cluster write service, inferenceService or url, or spec.template",
            )


def _needs_a_cluster(rollout: ModelRollout) -> Iterator[Fault]:
    if rollout.spec.template is not None:
        yield Fault(
            "spec.template", "place", "pods need a cluster: here write versions, each with url or process"
        )
    if rollout.spec.workload_ref is not None:
        yield Fault(
            "spec.workloadRef",
            "place",
            "a Deployment needs a cluster: here write versions, each with url or process",
        )
    if taken_over(rollout) is not None:
        yield Fault("spec.traffic.router.takeOver", "place", "a Service needs a cluster: here leave it out")
    warmup = rollout.spec.warmup
    if warmup is not None and warmup.requests.from_ == "configMap":
        yield Fault(
            "spec.warmup.requests.from", "place", "a ConfigMap needs a cluster: here write from: inline"
        )
    for index, version in enumerate(rollout.spec.versions):
        if version.service is not None:
            yield Fault(
                f"spec.versions[{index}].service",
                "place",
                "a Service needs a cluster: here write url or process",
            )
        if version.inference_service is not None:
            yield Fault(
                f"spec.versions[{index}].inferenceService",
                "place",
                "an InferenceService needs a cluster: here write url or process",
            )
