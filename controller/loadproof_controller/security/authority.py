"""The controller's own certificate authority: made on first start, it signs the server's and the agents' certificates.

EC P-256 throughout. The authority's key never leaves its folder, an agent's key never leaves the agent.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from loadproof.trust import AUTHORITY_OID, CONTROLLER_NAME, RELAY_NAME, authority_pin
from loadproof_controller.errors import ServiceError
from loadproof_controller.security.files import write_private

LOGGER = logging.getLogger(__name__)
AUTHORITY_DAYS = 3_650
SERVER_DAYS = 398
SERVER_DAYS_LEFT_MIN = 60
"""A server certificate with less is made anew at the next start."""
AGENT_LIFETIME = timedelta(hours=24)
CLOCK_SLACK = timedelta(days=1)
"""Certificates are valid from so much earlier, for machines whose clocks are behind and for clocks that are set back.

Nobody had the key of one before it was made, so this gives nothing away.
"""
CSR_BYTES_MAX = 8_192
HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*"
)


class CertificateProblem(Exception):
    """A signing request or a certificate cannot be used; the text is safe to show to the peer."""


@dataclass(frozen=True, slots=True)
class Member:
    """What an agent's certificate says: its name, and the id of the token it joined with."""

    agent_id: str
    token_id: str


class Authority:
    """Signs certificates. `load` makes one on first use; everything is kept in one private folder."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, now: Callable[[], datetime]
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._now = now

    @classmethod
    def load(cls, folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Authority:
        """Read the authority in `folder`, or make a new one. Raises `ServiceError`."""
        path, key_path = folder / "ca.pem", folder / "ca.key"
        try:
            if not path.exists() and not key_path.exists():
                made = cls._make(now)
                write_private(key_path, _key_pem(made._key))
                write_private(path, made.pem)
                return made
            key = load_pem_private_key(key_path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise ServiceError(
                f"{folder}: the authority cannot be read ({error}); restore ca.pem and ca.key"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ServiceError(f"{folder}: ca.key does not belong to ca.pem; restore both from one backup")
        if certificate.not_valid_after_utc <= now():
            raise ServiceError(
                f"{path}: the authority's certificate has expired; choose a new --data folder and join anew"
            )
        return cls(certificate, key, now)

    @classmethod
    def _make(cls, now: Callable[[], datetime]) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Loadproof controller")])
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = (
            _builder(name, name, key.public_key(), now(), timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key, now)

    @property
    def pem(self) -> bytes:
        """Return the authority's certificate, PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def pin(self) -> str:
        """Return the authority's name in tokens."""
        return authority_pin(self._certificate.public_bytes(Encoding.DER))

    def server_pair(self, folder: Path, hosts: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """Return the server's key and certificate (PEM), kept in `folder`.

        They are made anew well before they expire, and when a name of `hosts` (what browsers dial) is not in them.
        """
        path, key_path = folder / "server.pem", folder / "server.key"
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            certificate.verify_directly_issued_by(self._certificate)
            left = certificate.not_valid_after_utc - self._now()
            key = load_pem_private_key(key_path.read_bytes(), None)
            same = key.public_key() == certificate.public_key()
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            known = all(name in names for name in _server_names(hosts))
            if same and known and left > timedelta(days=SERVER_DAYS_LEFT_MIN):
                return key_path.read_bytes(), path.read_bytes()
        except Exception:  # not there, damaged, or of another authority: nothing is lost by making another
            LOGGER.info("a server certificate is made in %s", folder)
        key_pem, pem = self._make_server(hosts)
        write_private(key_path, key_pem)
        write_private(path, pem)
        return key_pem, pem

    def _make_server(self, hosts: Sequence[str]) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        own = self._certificate.public_bytes(Encoding.DER)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CONTROLLER_NAME)])
        builder = (
            self._leaf(name, key.public_key(), timedelta(days=SERVER_DAYS), ExtendedKeyUsageOID.SERVER_AUTH)
            .add_extension(x509.SubjectAlternativeName(_server_names(hosts)), critical=False)
            .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(AUTHORITY_OID), own), critical=False)
        )
        return _key_pem(key), builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def sign_member(
        self, csr_der: bytes, member: Member, lifetime: timedelta = AGENT_LIFETIME, *, relay: bool = False
    ) -> bytes:
        """Return a certificate (PEM) for the key of a signing request, in the name of `member`.

        A `relay`'s also proves to agents that it is one; under a name of its own, so it can't pass for the controller.
        Of the request only the key is used. Raises `CertificateProblem` when it is damaged or the key no P-256.
        """
        if len(csr_der) > CSR_BYTES_MAX:
            raise CertificateProblem("the signing request is too large")
        try:
            request = x509.load_der_x509_csr(csr_der)
            key = request.public_key()
            proven = request.is_signature_valid
        except Exception as error:  # hostile bytes: whatever they make the parser raise, they are no request
            raise CertificateProblem("the signing request cannot be read") from error
        if not proven or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise CertificateProblem("the signing request must be for an EC P-256 key and signed with it")
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, member.token_id),
                x509.NameAttribute(NameOID.COMMON_NAME, member.agent_id),
            ]
        )
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if relay else [])]
        builder = self._leaf(name, key, lifetime, *usages)
        if relay:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(RELAY_NAME)]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _leaf(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta, *usages: x509.ObjectIdentifier
    ) -> x509.CertificateBuilder:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            _builder(name, self._certificate.subject, key, self._now(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(authority, critical=False)
        )

    def member_of(self, certificate_pem: bytes) -> Member:
        """Return whose certificate this is. Raises `CertificateProblem` unless an agent's, ours and not expired."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            certificate.verify_directly_issued_by(self._certificate)
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            (token,) = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        except Exception as error:  # a peer's bytes: whatever is wrong with them, they prove nothing
            raise CertificateProblem("the certificate is not one of this controller's agents") from error
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            raise CertificateProblem("the certificate is not one of this controller's agents")
        if certificate.not_valid_after_utc <= self._now():
            raise CertificateProblem("the agent's certificate has expired; it has to join again")
        return Member(str(name.value), str(token.value))


def _server_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return the name agents check, and what a browser may check besides; a host that is neither is left out."""
    names: list[x509.GeneralName] = [x509.DNSName(CONTROLLER_NAME)]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            if HOST_NAME.fullmatch(host):
                names.append(x509.DNSName(host.lower()))
    return names


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + lifetime)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
