"""Stands before every method: who calls is known, and may, before anything of the call is read.

Two ports, two guards. On the port for people and joining agents the caller is known by its token. On the agents' port
TLS has asked for a client certificate; gRPC for Python can only require one of everybody or ask nobody, hence two.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio

from loadproof_controller.security import (
    AGENTS_TABLE,
    OPERATIONS_TABLE,
    Authority,
    Caller,
    CertificateProblem,
    Member,
    Role,
)
from loadproof_controller.security.access import refusal

LOGGER = logging.getLogger(__name__)
CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
MEMBER: ContextVar[Member | None] = ContextVar("member", default=None)
BEARER = "Bearer "
SECRET_CHARACTERS_MAX = 200
NOT_HERE = "agents may not do this, and this is their port: join and submit at the other one"

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]
Continue = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class Refusals:
    """Counts refused calls by host: the log gets one line a host each 10 s, and who goes on wrongly has to wait."""

    HOSTS_MAX = 10_000
    WINDOW_S = 60.0
    FREE_MAX = 20
    """Refusals a host gets at once in a window; later ones take a second."""
    PAUSE_S = 1.0
    PAUSED_MAX = 100
    LOG_EACH_S = 10.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._paused = 0

    def count(self, peer: str, why: str) -> float:
        """Note one refusal; return the seconds it has to wait."""
        host = peer.rpartition(":")[0] or peer
        now = self._clock()
        since, count = self._hosts.pop(host, (now, 0))
        if now - since > self.WINDOW_S:
            since, count = now, 0
        self._hosts[host] = (since, count + 1)
        told, silent = self._told.pop(host, (now - self.LOG_EACH_S, 0))
        if now - told >= self.LOG_EACH_S:
            LOGGER.warning("refused %s: %s%s", host, why, f" ({silent} more since the last line)" if silent else "")
            told, silent = now, -1
        self._told[host] = (told, silent + 1)
        for known in (self._hosts, self._told):
            while len(known) > self.HOSTS_MAX:
                known.popitem(last=False)
        return self.PAUSE_S if count >= self.FREE_MAX else 0.0

    async def refuse(self, context: Context, code: grpc.StatusCode, why: str) -> None:
        """End the call; its caller's next ones take longer."""
        pause_s = self.count(context.peer(), why)
        if pause_s and self._paused < self.PAUSED_MAX:
            self._paused += 1
            try:
                await asyncio.sleep(pause_s)
            finally:
                self._paused -= 1
        await context.abort(code, why)


class TokenGuard(grpc.aio.ServerInterceptor):
    """Lets a call through when its bearer token has a role the table lists for the method. Sets `CALLER`."""

    def __init__(
        self,
        caller_of: Callable[[str], Caller | None],
        refusals: Refusals,
        table: Mapping[str, Any] = OPERATIONS_TABLE,
    ) -> None:
        self._caller_of = caller_of
        self._refusals = refusals
        self._table = table

    async def intercept_service(self, continuation: Continue, details: grpc.HandlerCallDetails) -> Handler:
        """Return the method's handler, or one that only refuses."""
        secret = _bearer(details)
        caller = self._caller_of(secret) if secret else None
        why = refusal(self._table, str(details.method), caller)
        if why is not None:
            code = grpc.StatusCode.UNAUTHENTICATED if caller is None else grpc.StatusCode.PERMISSION_DENIED
            return _refusing(self._refusals, code, why)
        CALLER.set(caller)
        handler: Handler = await continuation(details)
        return handler


class CertificateGuard(grpc.aio.ServerInterceptor):
    """Lets a call through when its client certificate is one of ours and its token not revoked. Sets `MEMBER`.

    `authority` None: the port speaks plaintext on loopback, and only the table is looked at.
    """

    def __init__(
        self,
        authority: Authority | None,
        role_of: Callable[[str], Role | None],
        refusals: Refusals,
        table: Mapping[str, Any] = AGENTS_TABLE,
    ) -> None:
        self._authority = authority
        self._role_of = role_of
        self._refusals = refusals
        self._table = table

    async def intercept_service(self, continuation: Continue, details: grpc.HandlerCallDetails) -> Handler:
        """Return the method's handler behind a look at the caller's certificate, or one that only refuses."""
        if details.method not in self._table:
            return _refusing(self._refusals, grpc.StatusCode.PERMISSION_DENIED, NOT_HERE)
        handler: Handler = await continuation(details)
        if self._authority is None:
            return handler
        return self._checked(handler, self._authority, self._table[details.method])

    def _checked(self, handler: Handler, authority: Authority, roles: frozenset[Role]) -> Handler:
        behaviour = handler.stream_stream or handler.unary_stream or handler.unary_unary
        assert behaviour is not None, "no method of the agents' port takes a stream and answers once"

        async def call(request: Any, context: Context) -> Any:
            try:
                member = authority.member_of(_certificate(context))
                role = self._role_of(member.token_id)
                if role is None:
                    raise CertificateProblem(f"the token that agent {member.agent_id} joined with was revoked")
                if role not in roles:
                    raise CertificateProblem(f"{member.agent_id} joined with a token of the role {role}: not for this")
            except CertificateProblem as problem:
                await self._refusals.refuse(context, grpc.StatusCode.UNAUTHENTICATED, str(problem))
                return None
            MEMBER.set(member)
            answer: Any = cast("Any", behaviour)(request, context)
            if not inspect.isasyncgen(answer):
                return await answer
            async for part in answer:
                await context.write(part)
            return None

        how = {"request_deserializer": handler.request_deserializer, "response_serializer": handler.response_serializer}
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(call, **how)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(call, **how)
        return grpc.unary_unary_rpc_method_handler(call, **how)


def _bearer(details: grpc.HandlerCallDetails) -> str:
    for key, value in details.invocation_metadata or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(BEARER):
            return value.removeprefix(BEARER)[:SECRET_CHARACTERS_MAX].rpartition(".")[2]
    return ""


def _certificate(context: Context) -> bytes:
    values = context.auth_context().get("x509_pem_cert") or ()
    for value in values:
        return bytes(value)
    return b""


def _refusing(refusals: Refusals, code: grpc.StatusCode, why: str) -> Handler:
    """A handler of streams, so that it need not wait for a request to refuse it."""

    async def refuse(_requests: Any, context: Context) -> None:
        await refusals.refuse(context, code, why)

    return grpc.stream_stream_rpc_method_handler(refuse)
