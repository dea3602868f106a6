"""A version that is an InferenceService of KServe: what is seen of it. Nothing of it is ever written.

KServe says where it is, once it was ready for the first time. Where that is a Service with pods, as in its Standard
mode, the pods say whether they can answer: requests go straight to them. Where it is the name of a gateway, as in its
Knative mode, the name is routed to unless KServe says that the model is not ready. A change that KServe is still
working on takes nothing away: what served before serves until then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from controller.adapters.kubernetes.brought import Brought
from controller.adapters.kubernetes.copies import INFERENCE_SERVICES, SERVICES, Copies, Looked
from controller.adapters.kubernetes.raw import items, mapping, number, text, words
from controller.core.status import VersionObserved
from headgate.wire.plan import Endpoint

READY: Final = "Ready"
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Inference:
    """What a version names: the InferenceService `namespace/name`."""

    namespace: str
    name: str

    def observed(self, copies: Copies) -> tuple[VersionObserved, tuple[Looked, ...]]:
        """What the copies say of it now, and the objects that this depends on."""
        name = f"{self.namespace}/{self.name}"
        looked = (INFERENCE_SERVICES, name)
        found = copies.inference_services.get(name)
        if found is None:
            return VersionObserved(message=copies.inference_services.missing(name)), (looked,)
        told = trouble_of(found, name)
        written = address_of(found)
        address = _parts(written)
        if not written:
            waiting = (
                told or f"InferenceService {name} has no address yet: KServe gives it one when it is ready"
            )
            return VersionObserved(message=waiting), (looked,)
        if address is None:
            return VersionObserved(message=_unusable(name, written)), (looked,)
        port = address.port or _PORTS[address.scheme]
        service = self._service(address, copies)
        if service:
            seen, more = Brought(self.namespace, service, port).observed(copies)
            return _told(seen, told), (looked, *more)
        endpoint = Endpoint(host=address.hostname or "", port=port, tls=address.scheme == "https")
        is_ready = _condition(found, READY).get("status") != "False"
        seen = VersionObserved(endpoints=(endpoint,) if is_ready else (), is_running=True, message=told)
        return seen, (looked, (SERVICES, f"{self.namespace}/{(address.hostname or '').partition('.')[0]}"))

    def _service(self, address: SplitResult, copies: Copies) -> str:
        """The Service with pods of its own that the address is the name of; "" if it is none."""
        service, _, rest = (address.hostname or "").partition(".")
        is_here = rest == self.namespace or rest.startswith(f"{self.namespace}.svc")
        found = copies.services.get(f"{self.namespace}/{service}") if is_here else None
        has_pods = found is not None and mapping(found, "spec", "selector")
        return service if has_pods and address.scheme == "http" else ""


def address_of(found: Object) -> str:
    """Where it is reached inside the cluster, else from outside; "" while KServe has not said."""
    return text(found, "status", "address", "url") or text(found, "status", "url")


def trouble_of(found: Object, name: str) -> str:
    """What KServe says is wrong with it, or not done yet; "" if it is ready as it is written."""
    seen, written = number(found, "status", "observedGeneration"), number(found, "metadata", "generation")
    if seen and seen < written:
        return f"KServe has not seen the last change of InferenceService {name} yet"
    ready = _condition(found, READY)
    if ready.get("status") == "True":
        return ""
    causes = [
        f"{text(one, 'type')}: {words(one, 'message') or words(one, 'reason') or text(one, 'status')}"
        for one in items(found, "status", "conditions")
        if text(one, "type") != READY and text(one, "status") == "False" and text(one, "severity") != "Info"
    ]
    said = "; ".join(causes[:3]) or words(ready, "message") or "KServe is working on it"
    failure = words(found, "status", "modelStatus", "lastFailureInfo", "message")
    return f"InferenceService {name} is not ready: {said}" + (f"; {failure}" if failure else "")


def _condition(found: Object, kind: str) -> Mapping[str, Any]:
    return next((one for one in items(found, "status", "conditions") if text(one, "type") == kind), {})


def _parts(address: str) -> SplitResult | None:
    """The address, if a version can be there: http or https, a host, no path."""
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_usable and parts.path in ("", "/") else None


def _unusable(name: str, address: str) -> str:
    return (
        f"InferenceService {name} is at {words({'at': address}, 'at')}, which cannot be routed to: write that as url, "
        "with its path"
    )


def _told(seen: VersionObserved, told: str) -> VersionObserved:
    """The same, with what KServe says first."""
    return replace(seen, message="; ".join(filter(None, (told, seen.message))))
