"""TLS as the router uses it: contexts made of files, and made again when the files change.

A context is never changed once it is made: new files make another one, which connections from then on use. Files that
do not fit together (a certificate was replaced, its key not yet) leave the old context in force.
"""

import ssl
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.log import Log

TLS_1_2: Final = "1.2"
TLS_1_3: Final = "1.3"
VERSIONS: Final = {TLS_1_2: ssl.TLSVersion.TLSv1_2, TLS_1_3: ssl.TLSVersion.TLSv1_3}

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: an expired certificate can be looked at too."""


class Unusable(Exception):
    """Files that TLS cannot be spoken with; the text names the file and says what is wrong."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate (its chain after it) and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Server:
    """Towards clients: the first pair is for who names no server or an unknown one, the others for their names.

    With `client_ca`, only clients with a certificate of these authorities get as far as a request.
    """

    pairs: tuple[Pair, ...]
    client_ca: Path | None = None
    oldest: str = TLS_1_2

    def files(self) -> tuple[Path, ...]:
        """All files that it is made of."""
        more = (self.client_ca,) if self.client_ca is not None else ()
        return (*_files(self.pairs), *more)

    def context(self) -> ssl.SSLContext:
        """Made anew from the files. Unusable says which is wrong."""
        first, *others = [self._base(pair) for pair in self.pairs]
        if self.client_ca is not None:
            _trust(first, self.client_ca)
            first.verify_mode = ssl.CERT_REQUIRED
        by_name: dict[str, ssl.SSLContext] = {}
        for pair, context in zip(self.pairs, (first, *others), strict=True):
            for name in shown(pair, context).names:
                by_name.setdefault(name, context)
        if others:
            first.sni_callback = _chooser(by_name)
        return first

    def _base(self, pair: Pair) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[self.oldest]
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
        _load_pair(context, pair)
        return context


@dataclass(frozen=True, slots=True)
class Client:
    """Towards model servers: always verified, by the system's authorities or by those in `ca` alone.

    `pair` is the certificate the router shows to who asks for one.
    """

    ca: Path | None = None
    pair: Pair | None = None

    def files(self) -> tuple[Path, ...]:
        """All files that it is made of."""
        more = (self.ca,) if self.ca is not None else ()
        return (*(_files((self.pair,)) if self.pair is not None else ()), *more)

    def context(self) -> ssl.SSLContext:
        """Made anew from the files. Unusable says which is wrong."""
        if self.ca is None:
            context = ssl.create_default_context()
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _trust(context, self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self.pair is not None:
            _load_pair(context, self.pair)
        return context


def client_words(client: Client) -> list[str]:
    """How a process is told, on its command line, how to speak TLS to model servers."""
    words = ["--upstream-ca", str(client.ca)] if client.ca is not None else []
    if client.pair is not None:
        words += ["--upstream-cert", str(client.pair.certificate), "--upstream-key", str(client.pair.key)]
    return words


def add_client_to(parser: ArgumentParser) -> None:
    """Teach a parser what `client_words` writes."""
    for name in ("--upstream-ca", "--upstream-cert", "--upstream-key"):
        parser.add_argument(name, type=Path)


def client_of(given: Namespace) -> Client:
    """What was told on the command line."""
    pair = Pair(given.upstream_cert, given.upstream_key) if given.upstream_cert is not None else None
    return Client(given.upstream_ca, pair)


class Followed:
    """The context of some files, as they are now."""

    def __init__(self, source: Server | Client, log: Log) -> None:
        """Unusable if the files are of no use from the beginning."""
        self._source = source
        self._log = log
        self._seen = _stamps(source.files())
        self._context = source.context() if source.files() else None

    @property
    def context(self) -> ssl.SSLContext:
        """What new connections use. The system's authorities are read when they are first needed."""
        if self._context is None:
            self._context = self._source.context()
        return self._context

    def refresh(self) -> bool:
        """Look at the files; whether there is another context since they changed. A few stat calls, no more."""
        seen = _stamps(self._source.files())
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._context = self._source.context()
        except Unusable as error:
            self._log.error("certificates changed and cannot be used, the old ones stay", why=error)
            return False
        self._log.info("certificates read again", files=",".join(map(str, self._source.files())))
        return True


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate says of itself: the names it is for, and until when, as OpenSSL writes it."""

    names: tuple[str, ...]
    until: str


def shown(pair: Pair, server: ssl.SSLContext) -> Shown:
    """What clients are shown: found out by shaking hands with ourselves, which also proves that key and chain fit."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate itself is the anchor, so that nobody else needs to be trusted.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    try:
        client.load_verify_locations(cadata=_leaf(pair.certificate))
        said = _handshake(client, server)
    except ssl.SSLError as error:
        raise Unusable(f"{pair.certificate}: {_reason(error)}") from error
    alternative: Iterable[Any] = said.get("subjectAltName", ())
    names = tuple(name.lower() for kind, name in alternative if kind in ("DNS", "IP Address"))
    return Shown(names, str(said.get("notAfter", "")))


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, Any]:
    """The server's certificate as the client read it; the two talk through memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                if side is asking:
                    raise
                # a server that wants a client's certificate: ours has seen the server's by then
    return dict(asking.getpeercert() or {})


def _leaf(certificate: Path) -> str:
    """The first certificate of a PEM file that has one."""
    mark = "-----END CERTIFICATE-----"
    return _text(certificate).partition(mark)[0] + mark


def _chooser(
    by_name: dict[str, ssl.SSLContext],
) -> Callable[[ssl.SSLSocket | ssl.SSLObject, str, ssl.SSLContext], None]:
    """Picks the certificate for the name that a client asks for: the name itself, else its wildcard."""

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if not name:
            return
        name = name.lower()
        found = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if found is not None:
            connection.context = found

    return choose


def _load_pair(context: ssl.SSLContext, pair: Pair) -> None:
    if "-----BEGIN CERTIFICATE" not in _text(pair.certificate):
        raise Unusable(f"{pair.certificate}: has no certificate in PEM form")
    key = _text(pair.key)
    if "PRIVATE KEY-----" not in key:
        raise Unusable(f"{pair.key}: has no private key in PEM form")
    if "ENCRYPTED" in key:
        raise Unusable(
            f"{pair.key}: is encrypted; give it without a passphrase, readable by the router alone"
        )
    try:
        context.load_cert_chain(pair.certificate, pair.key)
    except ssl.SSLError as error:
        raise Unusable(f"{pair.certificate} with {pair.key}: {_reason(error)}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror or error}") from error


def _trust(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(cafile=authorities)
    except ssl.SSLError as error:
        raise Unusable(f"{authorities}: has no certificate of an authority ({_reason(error)})") from error
    except OSError as error:
        raise Unusable(f"{authorities}: {error.strerror or error}") from error


def _reason(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the certificate's"
    return (error.reason or str(error)).lower().replace("_", " ")


def _files(pairs: Iterable[Pair]) -> tuple[Path, ...]:
    return tuple(path for pair in pairs for path in (pair.certificate, pair.key))


def _stamps(files: Iterable[Path]) -> tuple[tuple[int, int, int], ...]:
    """What changes when a file is written, replaced, or a mounted Secret's link is moved."""
    return tuple(map(_stamp, files))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
