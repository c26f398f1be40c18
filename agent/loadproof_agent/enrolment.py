"""How an agent on another machine gets in: the authority its token pins, a certificate for its own key, renewals.

The key is made in memory and never leaves this process; a restarted agent joins again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # else a worker is aborted between fork and exec
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the core's own lines say nothing an operator can act on

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from loadproof.trust import CONTROLLER_NAME, Token, TrustError, fetch_authority, split_address
from loadproof_agent import _wire
from loadproof_agent.errors import ConfigurationError, RefusedError, UplinkError
from loadproof_agent.uplink import OPTIONS, error_of

CALL_LIMIT_S = 30.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Membership:
    """What an attached agent has: its name, where to attach, what to show there. Moments by the wall
    clock, as certificates count.

    `credentials` None: plaintext on loopback, where `identity` is the proof.
    """

    agent_id: str
    address: str
    credentials: Any
    identity: str
    renew_at_s: float
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a relay shows its agents, and the authority it checks theirs with; all PEM."""

    key: bytes
    certificate: bytes
    authority: bytes


class Enrolment:
    """Joins one controller with one token, and stays in. Every method raises `AgentError`.

    `UplinkError.retry` says whether trying again can help; a wrong token, address or controller can't mend itself.
    `wall` is the clock that certificates count by, in seconds.
    """

    def __init__(self, address: str, token: Token, name: str, *, wall: Callable[[], float] = time.time) -> None:
        try:
            self._host, self._port = split_address(address)
        except TrustError as error:
            raise ConfigurationError(error.text) from error
        if not token.pin and self._host not in LOOPBACK:
            text = "this token is for a controller without TLS, which only agents on its own machine can join"
            raise ConfigurationError(text)
        self._token = token
        self._name = name
        self.wall = wall
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._authority = self._certificate = b""

    async def join(self) -> Membership:
        """Return what to attach with."""
        if self._token.pin:
            await self._trust()
        credentials = grpc.ssl_channel_credentials(self._authority) if self._token.pin else None
        metadata = (("authorization", f"Bearer {self._token.text}"),)
        address = self._at(self._port)
        async with self._channel(address, credentials) as channel:
            try:
                answer = await _wire.enroll_stub(channel).Enroll(
                    _wire.enroll_request(self._name, self._request()), metadata=metadata, timeout=CALL_LIMIT_S
                )
            except grpc.aio.AioRpcError as error:
                raise error_of(error, address) from error
        return self._membership(answer.agent_id, answer.agents_port, answer)

    async def renew(self, member: Membership) -> Membership:
        """Return `member` with a new certificate, for the one it has."""
        async with self._channel(member.address, member.credentials) as channel:
            try:
                answer = await _wire.enroll_stub(channel).Renew(
                    _wire.renew_request(self._request()), timeout=CALL_LIMIT_S
                )
            except grpc.aio.AioRpcError as error:
                raise error_of(error, member.address) from error
        return self._membership(member.agent_id, int(member.address.rpartition(":")[2]), answer)

    def _membership(self, agent_id: str, port: int, answer: Any) -> Membership:
        now_s = self.wall()
        credentials = None
        if self._token.pin:
            self._certificate = answer.certificate
            credentials = grpc.ssl_channel_credentials(self._authority, self._key_pem(), answer.certificate)
        identity = getattr(answer, "identity", "")
        lifetime_s = answer.lifetime_s or float("inf")
        return Membership(agent_id, self._at(port), credentials, identity, now_s + lifetime_s / 2, now_s + lifetime_s)

    def server_identity(self) -> ServerIdentity:
        """Return what a relay shows its agents: the certificate it has now. Only after it has joined."""
        return ServerIdentity(self._key_pem(), self._certificate, self._authority)

    async def _trust(self) -> None:
        try:
            self._authority = await asyncio.to_thread(fetch_authority, self._host, self._port, self._token.pin)
        except TrustError as error:
            if error.code in {"unreachable", "clock"}:  # a machine that has just started may set its clock yet
                raise UplinkError(error.code, error.text, retry=True) from error
            raise RefusedError(error.code, error.text) from error

    def _channel(self, address: str, credentials: Any) -> grpc.aio.Channel:
        options: list[tuple[str, Any]] = [*OPTIONS, ("grpc.ssl_target_name_override", CONTROLLER_NAME)]
        if credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, credentials, options=options)

    def _at(self, port: int) -> str:
        return f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"

    def _request(self) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "agent")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self._key, hashes.SHA256())
        return request.public_bytes(Encoding.DER)

    def _key_pem(self) -> bytes:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
