"""The TLS of the controller's API on a cluster: by an authority of its own that it publishes, or by files of somebody else's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.adapters.certificate_files import CertificateFiles
from controller.adapters.certificates import ServerTls, Unusable
from controller.adapters.kubernetes.api import Api, Misconfigured
from controller.adapters.kubernetes.authority import Authority
from controller.adapters.kubernetes.trust import Trust
from headgate.log import Log

SERVICE: Final = "headgate-controller"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  a comparison


@dataclass(frozen=True, slots=True)
class CertificateOf:
    """The files of a certificate and its key that somebody else keeps."""

    certificate: Path
    key: Path


def names_of(namespace: str, listening: str, more: tuple[str, ...]) -> tuple[str, ...]:
    """What routers and people may call the controller: its Service's names, loopback, the address `listening`, and `more`."""
    names = (
        SERVICE,
        f"{SERVICE}.{namespace}",
        f"{SERVICE}.{namespace}.svc",
        f"{SERVICE}.{namespace}.svc.cluster.local",
        *_LOOPBACK,
        *((listening,) if listening not in _EVERYWHERE else ()),
        *more,
    )
    return tuple(dict.fromkeys(names))


class Serving:
    """Keeps `tls` as it should be. `api` reads and writes the Secret of every replica, `writer` what only the leader may.

    With `files` nothing is published: whoever issues that certificate says who is to be believed. Misconfigured: the
    files cannot be used.
    """

    def __init__(
        self,
        api: Api,
        writer: Api,
        *,
        namespace: str | None,
        names: tuple[str, ...],
        files: CertificateOf | None,
        namespaces: Callable[[], frozenset[str]],
        now: Callable[[], float],
        log: Log,
    ) -> None:
        self.tls = ServerTls()
        self._files: CertificateFiles | None = None
        self._trust: Trust | None = None
        if files is not None:
            self._files = CertificateFiles(self.tls, files.certificate, files.key, log)
            try:
                self._files.load()
            except (OSError, Unusable) as error:
                raise Misconfigured(f"{error}: name a certificate and its key, as PEM files") from error
            return
        self._authority = Authority(api, self.tls, names, on_bundle=self.look, now=now, log=log)
        bundle = self._bundle
        self._trust = Trust(writer, namespace, namespaces=namespaces, bundle=bundle, log=log)

    async def run(self) -> None:
        """Renew what is served with, until cancelled."""
        await (self._files or self._authority).run()

    async def lead(self) -> None:
        """Publish whom to believe, until cancelled; for the one that leads."""
        if self._trust is not None:
            await self._trust.run()

    def look(self) -> None:
        """A namespace may have got its first rollout, or lost its last."""
        if self._trust is not None:
            self._trust.look()

    def _bundle(self) -> str:
        return self._authority.bundle
