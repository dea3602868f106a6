"""Who asks a provider: read from files before each query, so that they may be rotated, and never said in an error."""

import base64
import os
from pathlib import Path
from typing import Final

from controller.adapters.prometheus.session import Unavailable
from controller.crd.providers import Provider

BYTES_MAX: Final = 64 * 1024

Stamp = tuple[tuple[str, int, int], ...]
"""The files of the certificates, when they were written (ns), and their sizes."""


def credentials(provider: Provider) -> dict[str, str]:
    """The headers of a query; Unavailable if a file cannot be read or holds what is no credential."""
    auth = provider.auth
    if auth.bearer_file is not None:
        return {**provider.headers, "Authorization": f"Bearer {_secret('bearerFile', auth.bearer_file)}"}
    if auth.basic is not None:
        pair = f"{auth.basic.username}:{_secret('passwordFile', auth.basic.password_file)}"
        return {**provider.headers, "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return dict(provider.headers)


def certificates(provider: Provider) -> Stamp:
    """What the provider's files of certificates are now; Unavailable if one is not there."""
    tls = provider.tls
    return tuple(
        _stamp(name, path)
        for name, path in (("caFile", tls.ca_file), ("certFile", tls.cert_file), ("keyFile", tls.key_file))
        if path is not None
    )


def _stamp(name: str, path: str) -> tuple[str, int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise Unavailable(f"its {name} {path} cannot be read ({_why(error)})") from error
    return path, found.st_mtime_ns, found.st_size


def _secret(name: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            text = file.read(BYTES_MAX + 1).decode("ascii").strip()
    except OSError as error:
        raise Unavailable(f"its {name} {path} cannot be read ({_why(error)})") from error
    except UnicodeError as error:
        raise Unavailable(f"its {name} {path} holds what is no plain text") from error
    if not text or not text.isprintable() or len(text) > BYTES_MAX:
        raise Unavailable(f"its {name} {path} holds no credential: one line of text is wanted")
    return text


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
