"""Certificates: an authority of one's own, what it issues, and the TLS of a server that takes new ones while it serves.

Keys are P-256. All that is made carries what RFC 5280 (and so Python 3.13's strict verification) asks for: key usage and
key identifiers. Times are Unix seconds, certificates and keys PEM.
"""

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY_S: Final = 86_400.0
AUTHORITY_S: Final = 365 * DAY_S
SERVING_S: Final = 30 * DAY_S
BACKDATED_S: Final = 3600.0
"""Certificates are valid from so long ago: clocks differ."""


class Unusable(ValueError):
    """No certificate, or none that fits its key; the text says what is wrong, and never holds a key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate (or a chain, its own first) and its private key."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(…)"  # the key is for no log


def made_authority(now: float) -> Pair:
    """A new authority, valid for `AUTHORITY_S`; no two have the same name."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = _name(f"headgate authority {serial:x}"[:48])
    usage = _usage(signs_certificates=True)
    built = (
        _begun(name, key, serial, now, now + AUTHORITY_S)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return _pair(built.sign(key, hashes.SHA256()), key)


def issued(authority: Pair, names: Sequence[str], now: float) -> Pair:
    """A server's certificate for these names (or addresses), valid for `SERVING_S` or as long as the authority is."""
    issuer, issuer_key = _read(authority.certificate), _read_key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + SERVING_S, issuer.not_valid_after_utc.timestamp())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    built = (
        _begun(_name("headgate-controller"), key, x509.random_serial_number(), now, until)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(identifier, critical=False)
    )
    return _pair(built.sign(issuer_key, hashes.SHA256()), key)


def checked(pair: Pair) -> Pair:
    """The pair, if the certificate is the key's; else Unusable."""
    if _read(pair.certificate).public_key() != _read_key(pair.key).public_key():
        raise Unusable("the certificate is not that of the key")
    return pair


def made_at(certificate: bytes) -> float:
    """When we made it; Unusable if it is none."""
    return _read(certificate).not_valid_before_utc.timestamp() + BACKDATED_S


def ends_at(certificate: bytes) -> float:
    """When it ends; Unusable if it is none."""
    return _read(certificate).not_valid_after_utc.timestamp()


def when(instant: float) -> str:
    """The instant as a log shows it."""
    return datetime.fromtimestamp(int(instant), UTC).isoformat().replace("+00:00", "Z")


class ServerTls:
    """The TLS side of a server; `use` gives it another certificate for the connections that come from then on."""

    def __init__(self) -> None:
        self.context = _server_context()
        self.ends_at = 0.0
        """When the certificate in use ends; 0 while there is none."""

    def use(self, pair: Pair) -> None:
        """Serve with it; Unusable, and nothing is changed, if it cannot be."""
        ends = ends_at(pair.certificate)
        _load(_server_context(), pair)  # a pair that does not fit would leave a context in use half changed
        _load(self.context, pair)
        self.ends_at = ends


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(context: ssl.SSLContext, pair: Pair) -> None:
    """Through a file, because OpenSSL takes nothing else here; nobody else may read it, and it is gone at once."""
    with tempfile.TemporaryDirectory(prefix="headgate-") as folder:
        path = Path(folder) / "pair.pem"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pair.key.rstrip() + b"\n" + pair.certificate)
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as error:
            raise Unusable(f"certificate and key do not go together: {error.reason or error}") from error


def _begun(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, serial: int, now: float, until: float
) -> x509.CertificateBuilder:
    """What every certificate has, but for its issuer."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(int(now - BACKDATED_S), UTC))
        .not_valid_after(datetime.fromtimestamp(int(until), UTC))
        .add_extension(identifier, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(pem), secret)


def _read(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise Unusable(f"no certificate in PEM form: {error}") from error


def _read_key(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        found = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise Unusable("no private key in PEM form without a password") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise Unusable("no key on an elliptic curve")
    return found
