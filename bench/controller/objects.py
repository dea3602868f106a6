"""The objects of the benchmark: many small rollouts, and what their versions are brought by.

A version is a Service whose EndpointSlice is written by hand: workloads without pods, since there is no node. Nobody
ever connects to the addresses, which are set aside for benchmarks (RFC 2544).
"""

from typing import Any, Final

from controller.adapters.kubernetes.api import path_of

Json = dict[str, Any]

GROUP: Final = "headgate.dev"
VERSION: Final = "v1alpha1"
PORT: Final = 8080


def rollouts(namespace: str, name: str | None = None) -> str:
    return path_of(GROUP, VERSION, "modelrollouts", namespace, name)


def actions(namespace: str, name: str | None = None) -> str:
    return path_of(GROUP, VERSION, "rolloutactions", namespace, name)


def services(namespace: str) -> str:
    return path_of("", "v1", "services", namespace)


def slices(namespace: str, name: str | None = None) -> str:
    return path_of("discovery.k8s.io", "v1", "endpointslices", namespace, name)


def service(name: str) -> Json:
    ports = [{"name": "http", "port": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"clusterIP": "None", "ports": ports},
    }


def endpoint_slice(name: str, number: int, *, is_ready: bool = True) -> Json:
    """The one address behind the Service of that name."""
    address = f"198.18.{number // 250 % 250}.{number % 250 + 1}"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": PORT}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": is_ready, "serving": is_ready}}],
    }


def by_service(name: str, service_name: str) -> Json:
    return {"name": name, "service": {"name": service_name, "port": PORT}}


def by_url(name: str, port: int) -> Json:
    readiness = {"httpGet": {"path": "/ready"}}
    return {"name": name, "url": f"http://127.0.0.1:{port}", "readiness": readiness}


def rollout(name: str, versions: list[Json], *, target: str = "") -> Json:
    """A canary of two long steps with one check; the first version is the stable one."""
    errors = {"name": "errors", "metric": "requests.errors", "noWorseThan": {"ratio": 1.2, "plus": "1pp"}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ModelRollout",
        "metadata": {"name": name},
        "spec": {
            "target": target or versions[0]["name"],
            "initialStable": versions[0]["name"],
            "versions": versions,
            "checks": [errors],
            "strategy": {"canary": {"weights": ["10%", "50%"], "every": "10m", "checks": ["errors"]}},
            "capacity": {"drain": "1s", "keepStableWarm": "10m"},
        },
    }


def rollback(name: str, rollout_name: str, version: str, who: str) -> Json:
    spec = {"rollout": rollout_name, "action": "rollback", "version": version, "reason": "the benchmark"}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "RolloutAction",
        "metadata": {"name": name},
        "spec": {**spec, "requestedBy": who},
    }
