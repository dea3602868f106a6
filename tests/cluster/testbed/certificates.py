"""A certificate authority that lives as long as one test run, so that TLS in tests is TLS as on a real cluster.

Made with the `openssl` program, which every Debian and Ubuntu has: a library for it would be a dependency for this
alone. Certificates carry what Python 3.13's strict verification asks for (RFC 5280 key usage and key identifiers).
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DAYS: Final = "7"
NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Issues server certificates for loopback; `certificate` is what clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = Pair(folder / "ca.crt", folder / "ca.key")
        _openssl(
            *("req", "-x509", *NEW_KEY, "-days", DAYS, "-subj", "/CN=headgate testbed"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(self._own.key), "-out", str(self._own.certificate)),
        )

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def issue(self, name: str) -> Pair:
        """A server certificate for 127.0.0.1 and localhost; `name` is its file's and its subject's name."""
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        _openssl(
            *("req", "-x509", *NEW_KEY, "-days", DAYS, "-subj", f"/CN={name}"),
            *("-CA", str(self._own.certificate), "-CAkey", str(self._own.key)),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "keyUsage=critical,digitalSignature"),
            *("-addext", "extendedKeyUsage=serverAuth"),
            *("-addext", "authorityKeyIdentifier=keyid"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"),
            *("-keyout", str(pair.key), "-out", str(pair.certificate)),
        )
        return pair


def signing_key(path: Path) -> Path:
    """A private key for ServiceAccount tokens, in the form (SEC 1) whose public half kube-apiserver can read too."""
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))
    return path


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr}"
