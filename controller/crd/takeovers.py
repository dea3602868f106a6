"""Rules for an existing Service that the routers take over: no version may be served through that very Service.

Once it leads to the routers, a version behind it would send every request back to them, round and round.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from controller.crd.models import ModelRollout
from controller.crd.table import Finding

LOOP = "requests would go round in a circle: it leads to the routers once they take it over; name a Service of its own"


def taken_over(rollout: ModelRollout) -> str | None:
    """The name of the Service that the routers shall take over; None where none is named."""
    traffic = rollout.spec.traffic
    return traffic.router.take_over if traffic is not None and traffic.router is not None else None


def own_backends(rollout: ModelRollout) -> Iterator[Finding]:
    """No version is reached through the Service that is taken over."""
    name = taken_over(rollout)
    if name is None:
        return
    hosts = hosts_of(name, rollout.metadata.namespace)
    for index, version in enumerate(rollout.spec.versions):
        if version.service is not None and version.service.name == name:
            yield f"spec.versions[{index}].service.name", LOOP
        if version.url is not None and (urlsplit(version.url).hostname or "").rstrip(".") in hosts:
            yield f"spec.versions[{index}].url", LOOP


def hosts_of(service: str, namespace: str) -> frozenset[str]:
    """The names by which a Service is found in a cluster with the usual domain."""
    return frozenset(
        f"{service}{rest}"
        for rest in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    )
