"""The file of metric providers, which the administrator writes: where each Prometheus is and how one may ask it.

Specs name a provider and say nothing else of it, so that whoever may write a rollout can neither send the controller
anywhere nor see a credential. The file names files: no secret is written in it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from controller.crd.documents import load_documents
from controller.crd.faults import Fault, Refused, from_pydantic
from controller.crd.models import Model, Name, Url
from controller.crd.quantities import Duration

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_OURS: Final = frozenset(
    (
        "authorization",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "cookie",
    )
)

FilePath = Annotated[str, Field(min_length=1, max_length=4096)]


class Basic(Model):
    """A user's name, and the file that holds the password."""

    username: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^:\x00-\x1f]+$")]
    password_file: FilePath


class Auth(Model):
    """Who asks: a token or a password. The files are read before every query, so that they may be rotated."""

    bearer_file: FilePath | None = None
    basic: Basic | None = None


class Tls(Model):
    """Whom to believe, and who asks. A file that was written anew is used from the next query on."""

    ca_file: FilePath | None = None
    """Authorities in PEM.  [default: those the machine trusts]"""
    cert_file: FilePath | None = None
    """Our certificate, and what vouches for it, in PEM."""
    key_file: FilePath | None = None
    """Its key, in PEM."""


class Limits(Model):
    """What one provider is asked for at most, by all rollouts together."""

    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Queries at the same time."""
    per_second: Annotated[float, Field(ge=0.1, le=10_000)] = 100.0
    """Checks measured in a second; the others wait for their turn."""
    timeout: Annotated[float, Duration("100ms", "60s")] = 5.0
    """After so long a query is given up."""


class Provider(Model):
    """One Prometheus, or what speaks its API: Thanos, Mimir, VictoriaMetrics."""

    url: Url
    headers: Annotated[dict[str, str], Field(max_length=16)] = Field(default_factory=dict)
    """Sent with every query, such as X-Scope-OrgID: no secret belongs here."""
    auth: Auth = Auth()
    tls: Tls = Tls()
    limits: Limits = Limits()
    allow_plaintext: bool = False
    """Send the credential over http, too, where everybody on the way can read it."""


class Providers(Model):
    """All of them by the name that checks say."""

    providers: Annotated[dict[Name, Provider], Field(min_length=1, max_length=64)]


def read_providers(path: Path) -> Mapping[str, Provider] | Refused:
    """The providers in that file, relative paths taken from its folder; or everything that is wrong with it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        return _refused("", "file", f"it cannot be read: {(error.strerror or repr(error)).lower()}")
    documents = load_documents(text)
    if isinstance(documents, Refused):
        return documents
    if len(documents) != 1:
        return _refused(
            "", "documents", f"there are {len(documents)} documents in it: write one, with providers"
        )
    try:
        found = Providers.model_validate(documents[0].content)
    except ValidationError as error:
        return Refused(from_pydantic(error, Providers))
    faults = tuple(fault for name, one in found.providers.items() for fault in _faults(name, one))
    if faults:
        return Refused(faults)
    return {name: _rooted(one, path.parent) for name, one in found.providers.items()}


def _refused(path: str, rule: str, message: str) -> Refused:
    return Refused((Fault(path, rule, message),))


def _faults(name: str, provider: Provider) -> Iterator[Fault]:
    at, auth, tls, parts = f"providers.{name}", provider.auth, provider.tls, urlsplit(provider.url)
    if auth.bearer_file is not None and auth.basic is not None:
        yield Fault(f"{at}.auth", "one-credential", "write bearerFile or basic, not both")
    is_secret = auth.bearer_file is not None or auth.basic is not None
    if is_secret and parts.scheme == "http" and not provider.allow_plaintext and not _is_here(parts.hostname):
        yield Fault(
            f"{at}.url",
            "plaintext",
            "the credential would travel readable: write https, or allowPlaintext: true if that is meant",
        )
    if (tls.cert_file is None) != (tls.key_file is None):
        yield Fault(f"{at}.tls", "key-pair", "certFile and keyFile belong together: write both")
    if parts.scheme == "http" and (tls.ca_file or tls.cert_file):
        yield Fault(f"{at}.tls", "no-tls", "the address is http, so this would do nothing: write https")
    for header, value in provider.headers.items():
        if not _TOKEN.fullmatch(header) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) or len(value) > 4096:
            yield Fault(f"{at}.headers", "header", f"{header[:80]!r} is not a header")
        elif header.lower() in _OURS:
            yield Fault(
                f"{at}.headers.{header}", "header", "it is Headgate's to write; for credentials: auth"
            )


def _is_here(host: str | None) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _rooted(provider: Provider, folder: Path) -> Provider:
    """The same with absolute paths."""
    auth, tls = provider.auth, provider.tls
    basic = auth.basic
    if basic is not None:
        basic = basic.model_copy(update={"password_file": str(folder / basic.password_file)})
    return provider.model_copy(
        update={
            "auth": Auth.model_construct(bearer_file=_under(folder, auth.bearer_file), basic=basic),
            "tls": Tls.model_construct(
                ca_file=_under(folder, tls.ca_file),
                cert_file=_under(folder, tls.cert_file),
                key_file=_under(folder, tls.key_file),
            ),
        }
    )


def _under(folder: Path, path: str | None) -> str | None:
    return None if path is None else str(folder / path)
