"""A serving certificate that somebody else renews: two files, taken anew when they change."""

import asyncio
from pathlib import Path
from typing import Final

from controller.adapters.certificates import Pair, ServerTls, Unusable, when
from headgate.log import Log

LOOK_S: Final = 5.0


class CertificateFiles:
    """Keeps `tls` in what the files hold. What does not fit together, as in the middle of a renewal, is left out."""

    def __init__(self, tls: ServerTls, certificate: Path, key: Path, log: Log) -> None:
        self._tls = tls
        self._certificate = certificate
        self._key = key
        self._log = log
        self._used: Pair | None = None
        self._told = ""

    def load(self) -> None:
        """Serve with what the files hold now; OSError or Unusable, naming them, if that is not possible."""
        try:
            found = Pair(self._certificate.read_bytes(), self._key.read_bytes())
            if found != self._used:
                self._tls.use(found)
                self._used = found
                self._log.info(
                    "serving certificate read", path=self._certificate, until=when(self._tls.ends_at)
                )
        except Unusable as error:
            raise Unusable(f"--tls-cert {self._certificate}, --tls-key {self._key}: {error}") from error

    async def run(self) -> None:
        """Look for other content again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.load()
                self._told = ""
            except Exception as error:  # noqa: BLE001  the outermost frame; mostly OSError and Unusable
                if str(error) != self._told:
                    self._told = str(error)
                    self._log.error("the serving certificate stays what it was", why=error)
