"""Certificates of one's own: believed by whom they are meant for, and by nobody else; and a server that changes them."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.adapters.certificate_files import CertificateFiles
from controller.adapters.certificates import (
    AUTHORITY_S,
    DAY_S,
    SERVING_S,
    Pair,
    ServerTls,
    Unusable,
    checked,
    ends_at,
    issued,
    made_at,
    made_authority,
)
from headgate.log import Log

NAMES = ("headgate-controller.ml.svc", "127.0.0.1", "::1")
NOW = time.time()


@contextmanager
def listening(tls: ServerTls) -> Iterator[int]:
    """A server that shakes hands and hangs up; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        tls.context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def handshake(port: int, believed: bytes, name: str = "127.0.0.1") -> bytes:
    """The certificate (DER) of the server; ssl.SSLError if it is not believed."""
    context = ssl.create_default_context(cadata=believed.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by default
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        found = secured.getpeercert(binary_form=True)
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_an_authority_issues_is_believed_for_its_names(name: str) -> None:
    authority, tls = made_authority(NOW), ServerTls()
    tls.use(issued(authority, NAMES, NOW))
    with listening(tls) as port:
        assert handshake(port, authority.certificate, name)


def test_it_is_not_believed_for_other_names_nor_by_those_who_believe_another_authority() -> None:
    authority, tls = made_authority(NOW), ServerTls()
    tls.use(issued(authority, NAMES, NOW))
    with listening(tls) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(port, authority.certificate, "headgate-controller.other.svc")
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            handshake(port, made_authority(NOW).certificate)


def test_what_a_server_issued_cannot_issue_anything() -> None:
    authority = made_authority(NOW)
    middle, tls = issued(authority, ("middle",), NOW), ServerTls()
    leaf = issued(middle, NAMES, NOW)
    tls.use(Pair(leaf.certificate + middle.certificate, leaf.key))
    with listening(tls) as port, pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)ca"):
        handshake(port, authority.certificate)


def test_old_and_new_authorities_are_believed_side_by_side_in_any_order() -> None:
    old, new = made_authority(NOW), made_authority(NOW)
    for authority in (old, new):
        tls = ServerTls()
        tls.use(issued(authority, NAMES, NOW))
        with listening(tls) as port:
            handshake(port, old.certificate + new.certificate)
            handshake(port, new.certificate + old.certificate)


def test_a_server_takes_another_certificate_for_the_next_connection() -> None:
    authority, tls = made_authority(NOW - DAY_S), ServerTls()
    tls.use(issued(authority, NAMES, NOW - DAY_S))
    with listening(tls) as port:
        before = handshake(port, authority.certificate)
        assert handshake(port, authority.certificate) == before
        tls.use(issued(authority, NAMES, NOW))
        assert handshake(port, authority.certificate) != before
    assert tls.ends_at == pytest.approx(NOW + SERVING_S, abs=1)


def test_a_pair_that_does_not_fit_changes_nothing() -> None:
    authority, tls = made_authority(NOW), ServerTls()
    one, other = issued(authority, NAMES, NOW), issued(authority, NAMES, NOW)
    tls.use(one)
    ends = tls.ends_at
    with listening(tls) as port:
        before = handshake(port, authority.certificate)
        for certificate, key in ((one.certificate, other.key), (b"no PEM", one.key), (one.certificate, b"")):
            with pytest.raises(Unusable):
                tls.use(Pair(certificate, key))
        assert handshake(port, authority.certificate) == before
    assert tls.ends_at == ends


def test_an_authority_lasts_a_year_and_nothing_it_issues_lasts_longer() -> None:
    authority = made_authority(NOW)
    assert made_at(authority.certificate) == pytest.approx(NOW, abs=1)
    assert ends_at(authority.certificate) == pytest.approx(NOW + AUTHORITY_S, abs=1)
    early, late = issued(authority, NAMES, NOW), issued(authority, NAMES, NOW + AUTHORITY_S - DAY_S)
    assert ends_at(early.certificate) == pytest.approx(NOW + SERVING_S, abs=1)
    assert ends_at(late.certificate) == ends_at(authority.certificate)


def test_a_key_is_never_shown() -> None:
    authority = made_authority(NOW)
    assert "PRIVATE" not in f"{authority} {authority!r} {[authority]}"
    with pytest.raises(Unusable) as refused:
        checked(Pair(authority.certificate, made_authority(NOW).key))
    assert "PRIVATE" not in str(refused.value)


def test_files_are_taken_when_they_fit_and_left_while_they_do_not(tmp_path: Path) -> None:
    authority, tls = made_authority(NOW), ServerTls()
    first, second = issued(authority, NAMES, NOW), issued(authority, NAMES, NOW)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    files = CertificateFiles(tls, certificate, key, Log("test"))
    with pytest.raises(OSError, match=r"tls\.crt"):
        files.load()
    certificate.write_bytes(first.certificate)
    key.write_bytes(first.key)
    files.load()
    with listening(tls) as port:
        before = handshake(port, authority.certificate)
        certificate.write_bytes(second.certificate)  # half of a renewal
        with pytest.raises(Unusable, match=r"tls\.crt, --tls-key .*do not go together"):
            files.load()
        assert handshake(port, authority.certificate) == before
        key.write_bytes(second.key)
        files.load()
        assert handshake(port, authority.certificate) != before
