"""The ready addresses of a Service's port, as its EndpointSlices say, and in words why there are none.

A pod is routed to while it is ready, serving and not terminating. `publishNotReadyAddresses` makes every pod "ready" in
a slice; `serving` still says the truth.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.adapters.kubernetes.raw import items, mapping, number, text
from headgate.wire.plan import Endpoint

ENDPOINTS_MAX: Final = 1024
"""More are not routed to: the bound of a plan."""

SERVICE_LABEL: Final = "kubernetes.io/service-name"
"""What an EndpointSlice carries its Service's name in."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a Service's port has: `endpoints` to route to, of `known` addresses, or the fault that keeps it from having any.

    `is_soon`: nobody has to do anything about the fault.
    """

    endpoints: tuple[Endpoint, ...] = ()
    known: int = 0
    fault: str = ""
    is_soon: bool = False


def by_service(slice_: Mapping[str, Any]) -> Iterator[str]:
    """For an index: `namespace/name` of the Service that an EndpointSlice belongs to."""
    service = text(slice_, "metadata", "labels", SERVICE_LABEL)
    if service:
        yield f"{text(slice_, 'metadata', 'namespace')}/{service}"


def published(
    service: Mapping[str, Any] | None, slices: Iterable[Mapping[str, Any]], name: str, port: int | str
) -> Published:
    """What `port` (number or name) of the Service `namespace/name` has; `service` is None where there is no such object."""
    if service is None:
        return Published(
            fault=f"there is no Service {name}: create it, or correct the version's service.name"
        )
    if text(service, "spec", "type") == "ExternalName":
        return Published(
            fault=f"Service {name} is an ExternalName, without endpoints: write its address as url"
        )
    found = next((one for one in items(service, "spec", "ports") if _is_meant(one, port)), None)
    if found is None:
        return Published(
            fault=f"Service {name} has no port {port} (it has {_ports(service)}): correct the version's "
            "service.port, or add it to the Service"
        )
    return _of_slices(service, list(slices), name, text(found, "name"))


def _of_slices(
    service: Mapping[str, Any], slices: list[Mapping[str, Any]], name: str, port_name: str
) -> Published:
    usable = [one for one in slices if text(one, "addressType") == "IPv4"]
    if not usable:
        fault = _without_slices(service, slices, name)
        return Published(fault=fault, is_soon=not slices and bool(mapping(service, "spec", "selector")))
    ready: set[tuple[str, int]] = set()
    known: set[str] = set()
    for one in usable:
        port = _port_of(one, port_name)
        for endpoint in items(one, "endpoints"):
            known.update(_addresses(endpoint))
            if port and _is_routable(endpoint):
                ready.update((address, port) for address in _addresses(endpoint))
    endpoints = tuple(Endpoint(host=host, port=port) for host, port in sorted(ready)[:ENDPOINTS_MAX])
    return Published(endpoints, len(known), "" if known else _without_pods(service, name))


def _is_meant(port: object, wanted: int | str) -> bool:
    return number(port, "port") == wanted if isinstance(wanted, int) else text(port, "name") == wanted


def _ports(service: Mapping[str, Any]) -> str:
    told = [
        f"{text(port, 'name')} {number(port, 'port')}".strip() for port in items(service, "spec", "ports")
    ]
    return ", ".join(told) or "none"


def _port_of(slice_: Mapping[str, Any], name: str) -> int:
    """The pods' port behind the Service's port of that name; 0 if this slice has none."""
    ports = (port for port in items(slice_, "ports") if text(port, "name") == name)
    return next((number(port, "port") for port in ports), 0)


def _addresses(endpoint: object) -> tuple[str, ...]:
    """The first only: all of one endpoint reach the same pod."""
    return tuple(address for address in items(endpoint, "addresses")[:1] if isinstance(address, str))


def _is_routable(endpoint: object) -> bool:
    """Unknown counts as ready and serving, and as not terminating (discovery.k8s.io/v1, EndpointConditions)."""
    conditions = mapping(endpoint, "conditions")
    return (
        conditions.get("ready") is not False
        and conditions.get("serving") is not False
        and conditions.get("terminating") is not True
    )


def _without_slices(service: Mapping[str, Any], slices: list[Mapping[str, Any]], name: str) -> str:
    if slices:
        return f"Service {name} has IPv6 addresses only: add IPv4 to its ipFamilies"
    if not mapping(service, "spec", "selector"):
        return (
            f"Service {name} has no selector, and nobody wrote an EndpointSlice for it: give it one of them"
        )
    return f"Service {name} has no EndpointSlice yet: the cluster's endpoint controller makes it"


def _without_pods(service: Mapping[str, Any], name: str) -> str:
    selector = mapping(service, "spec", "selector")
    if not selector:
        return f"the EndpointSlices of Service {name} have no address: whoever writes them must add one"
    wanted = ",".join(f"{label}={value}" for label, value in sorted(selector.items()))
    return f"Service {name} has no pod with an address (it selects {wanted})"


def described(found: Published, name: str) -> str:
    """One sentence: how many of the Service's addresses are ready, or what is wrong."""
    if found.fault:
        return found.fault
    ready = len(found.endpoints)
    beyond = f"; only the first {ENDPOINTS_MAX} are routed to" if ready == ENDPOINTS_MAX < found.known else ""
    return f"{ready} of {found.known} endpoints of Service {name} ready{beyond}"
