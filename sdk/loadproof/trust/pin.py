"""Finds the authority a token pins, from nothing but the controller's address.

A controller's server certificate carries its authority's certificate in an extension, because Python before 3.13 can
show a peer's own certificate without verification, but not the chain behind it. What is fetched is worth nothing until
its hash is the pin; from then on it is the only root, under one fixed name, so that addresses may change.
"""

from __future__ import annotations

import hmac
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from loadproof.trust.token import TrustError, authority_pin

CONTROLLER_NAME = "controller.loadproof.internal"
"""The name in every controller's server certificate."""
RELAY_NAME = "relay.loadproof.internal"
"""The name in every relay's certificate, beside its own."""
AUTHORITY_OID = "2.25.147708136020524387766230193751605279761"
"""The extension that carries the authority's certificate, DER; an arc made from a UUID (ITU-T X.667)."""
FETCH_LIMIT_S = 10.0


def fetch_authority(host: str, port: int, pin: str, *, limit_s: float = FETCH_LIMIT_S) -> bytes:
    """Return the certificate (PEM) of the authority behind host:port when its hash is `pin`. Blocks: use a thread.

    Raises `TrustError`: "unreachable", "plaintext" (no TLS there), "authority" (another one than the token's), or
    "clock" (no certificate of it is good by the clock of this machine).
    """
    leaf, speaks = _leaf(host, port, limit_s)
    authority = _authority_in(leaf, pin, f"{host}:{port}")
    check_clock((leaf, ssl.PEM_cert_to_DER_cert(authority.decode())), f"{host}:{port}", datetime.now(UTC))
    if not speaks:  # or it is about to end, so that trying again may help
        text = "hung up on a caller without a certificate: is this the agents' port? join and submit at the other one"
        raise TrustError("unreachable", f"{host}:{port} {text}")
    return authority


def _leaf(host: str, port: int, limit_s: float) -> tuple[bytes, bool]:
    """Return the certificate the server shows, and whether it then speaks as an HTTP/2 server does, unasked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent on this connection, and the pin decides about what it shows
    context.set_alpn_protocols(["h2"])
    where = f"{host}:{port}"
    try:
        with (
            socket.create_connection((host, port), timeout=limit_s) as plain,
            context.wrap_socket(plain, server_hostname=CONTROLLER_NAME) as secure,
        ):
            leaf = secure.getpeercert(binary_form=True)
            speaks = _speaks(secure)
    except ssl.SSLError as error:
        if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE"}:
            raise TrustError("plaintext", f"{where} does not speak TLS: is this the controller's address?") from error
        raise TrustError("unreachable", f"{where}: the TLS handshake failed ({error.reason or error})") from error
    except TimeoutError as error:
        raise TrustError("unreachable", f"{where} did not answer within {limit_s:g} s") from error
    except OSError as error:
        what = error.strerror or str(error)
        raise TrustError("unreachable", f"{where} cannot be reached: {what.lower()}; is the controller up?") from error
    if not leaf:
        raise TrustError("authority", f"{where} showed no certificate: it is not a Loadproof controller")
    return leaf, speaks


def _speaks(secure: ssl.SSLSocket) -> bool:
    """Wait for the first byte; a server that wants a certificate hangs up instead, with TLS 1.3 only now."""
    try:
        return bool(secure.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


def _authority_in(leaf_der: bytes, pin: str, where: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        leaf = x509.load_der_x509_certificate(leaf_der)
        extension = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(AUTHORITY_OID)).value
        found = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
        if hmac.compare_digest(authority_pin(found), pin):
            return x509.load_der_x509_certificate(found).public_bytes(Encoding.PEM)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise TrustError(
            "authority", f"{where} is not a Loadproof controller (its certificate says nothing)"
        ) from error
    raise TrustError(
        "authority",
        f"{where} is not the controller this token was made by; take a token of that controller, or its address",
    )


def check_clock(certificates_der: Sequence[bytes], where: str, now: datetime) -> None:
    """Raise `TrustError` ("clock") unless all are good at `now`, by the clock of this machine."""
    from cryptography import x509

    for der in certificates_der:
        certificate = x509.load_der_x509_certificate(der)
        early, late = certificate.not_valid_before_utc - now, now - certificate.not_valid_after_utc
        if early > timedelta():
            text = f"the clocks of {where} and of this machine differ by at least {_about(early)}; set one of them"
            raise TrustError("clock", text)
        if late > timedelta():
            raise TrustError(
                "clock",
                f"by the clock of this machine the certificate of {where} ended {_about(late)} ago: set the clock if"
                " it is wrong, else start the controller again, which makes another",
            )


def _about(time: timedelta) -> str:
    """Return a length of time in whole hours or days, rounded up: a text that is said again stays the same."""
    hours = -(time // timedelta(hours=-1))
    number, unit = (hours, "hour") if hours < 48 else (-(time // timedelta(days=-1)), "day")
    return f"{number} {unit}{'s' if number != 1 else ''}"
