"""A version as the user wrote it, read into what this adapter needs to start it or to reach it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from controller.crd.models import Readiness, Version
from headgate.wire.plan import Endpoint


@dataclass(frozen=True, slots=True)
class Probe:
    """How readiness is asked: GET `path`, or only a connection where `path` is None. Seconds; `host` is the Host header."""

    path: str | None
    host: str | None = None
    period_s: float = 1.0
    timeout_s: float = 1.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class ProcessVersion:
    """A model server to start in `folder`; `{port}` and `{python}` are still in `command` and `env`."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    probe: Probe
    stop_grace_s: float


@dataclass(frozen=True, slots=True)
class UrlVersion:
    """A model server that somebody else runs."""

    name: str
    endpoint: Endpoint
    probe: Probe


def read_version(document: Mapping[str, Any], folder: Path) -> ProcessVersion | UrlVersion | str:
    """The version in `document` (`baseDir` is its folder, else `folder`); a sentence when it is none that runs here."""
    fields = {name: value for name, value in document.items() if name != "baseDir"}
    try:
        version = Version.model_validate(fields)
    except ValidationError as error:
        return (
            f"version {fields.get('name')!r} is not one that local mode can run: {error.errors()[0]['msg']}"
        )
    if version.process is not None:
        process = version.process
        return ProcessVersion(
            name=version.name,
            command=tuple(process.command),
            env=process.env,
            folder=Path(document.get("baseDir", folder)),
            probe=_http(process.readiness, ""),
            stop_grace_s=process.stop_grace,
        )
    if version.url is not None:
        return at_url(version.name, version.url, version.readiness)
    return f"version {version.name} has neither process nor url"


def at_url(name: str, url: str, readiness: Readiness | None) -> UrlVersion:
    """The version behind a URL that was accepted; without `readiness` a connection is all that is asked for."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    endpoint = Endpoint(host=parts.hostname or "", port=parts.port or (443 if is_tls else 80), tls=is_tls)
    base_path = parts.path.rstrip("/")
    return UrlVersion(name, endpoint, Probe(None) if readiness is None else _http(readiness, base_path))


def _http(readiness: Readiness, base_path: str) -> Probe:
    return Probe(
        path=base_path + readiness.http_get.path,
        host=readiness.http_get.host,
        period_s=readiness.period,
        timeout_s=readiness.timeout,
        failures=readiness.failures,
    )
