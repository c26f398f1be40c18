"""The port where a relay's agents attach: AgentService, as a controller serves it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio
from cryptography import x509
from cryptography.x509.oid import NameOID

from loadproof_agent.enrolment import ServerIdentity
from loadproof_agent.errors import ConfigurationError, RunError
from loadproof_agent.relay import _wire
from loadproof_agent.relay import events as e

LOGGER = logging.getLogger(__name__)
OUTBOX_MAX = 4_096
HELLO_LIMIT_S = 10.0
STOP_GRACE_S = 1.0
CHUNK_BYTES = 1024 * 1024
BUNDLE_BYTES_MAX = 64 * 1024 * 1024
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_metadata_size", 8_192),
)
"""As the controller's, which measured them."""

Context = grpc.aio.ServicerContext[Any, Any]
Fetch = Callable[[str, str, int], Awaitable[bytes]]


class ChildrenServer:
    """Listens for agents; each stream is a link with a number. `async with` listens.

    `identity` returns what is shown to agents from the next handshake on; None: plaintext, for loopback. `on_event` is
    called from the loop. `fetch` gets a bundle from the controller (run, sha256, most bytes); the last one is kept.
    """

    def __init__(
        self,
        address: str,
        *,
        on_event: Callable[[e.Event], None],
        fetch: Fetch,
        identity: Callable[[], ServerIdentity] | None,
    ) -> None:
        self._address = address
        self._on_event = on_event
        self._fetch = fetch
        self._identity = identity
        self._server: grpc.aio.Server | None = None
        self._links: dict[int, asyncio.Queue[Any]] = {}
        self._link = 0
        self._bundle: tuple[str, bytes] = ("", b"")
        self._fetching = asyncio.Lock()
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen. Raises `ConfigurationError` when the address can't be had."""
        server = grpc.aio.server(options=OPTIONS)
        _wire.serve_agents(self, server)
        try:
            if self._identity is None:
                self.port = server.add_insecure_port(self._address)
            else:
                self.port = server.add_secure_port(self._address, _credentials(self._identity))
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen at {self._address}: the port is in use (another relay?) or the address is not this"
                " machine's"
            ) from error
        await server.start()
        self._server = server
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, self._server = self._server, None
        for link in list(self._links):
            self.end(link)
        if server is not None:
            await server.stop(STOP_GRACE_S)

    def send(self, link: int, message: Any) -> None:
        """Queue `message` for a child; one that lets over 4,096 pile up loses its stream."""
        outbox = self._links.get(link)
        if outbox is not None:
            outbox.put_nowait(message)
            if outbox.qsize() > OUTBOX_MAX:
                self.end(link)
                self._on_event(e.ChildLeft(link))

    def end(self, link: int, last: Any = None) -> None:
        """End a child's stream, after `last`."""
        outbox = self._links.pop(link, None)
        if outbox is not None:
            if last is not None:
                outbox.put_nowait(last)
            outbox.put_nowait(None)

    # --- AgentService -------------------------------------------------------------------------------------------------

    async def Attach(self, requests: AsyncIterator[Any], context: Context) -> None:  # noqa: N802 (the contract's name)
        """Serve one child until either side ends the stream."""
        try:
            await self._attach(requests, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            LOGGER.exception("serving an agent failed")
            await context.abort(grpc.StatusCode.INTERNAL, "the relay failed on this stream; see its log")

    async def FetchBundle(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: N802
        """Send the run's bundle, fetched from the controller once for all children."""
        async with self._fetching:
            if self._bundle[0] != request.sha256:
                try:
                    data = await self._fetch(request.run_id, request.sha256, BUNDLE_BYTES_MAX)
                except RunError as error:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, error.text)
                if hashlib.sha256(data).hexdigest() != request.sha256:
                    await context.abort(grpc.StatusCode.DATA_LOSS, "the bundle did not arrive whole")
                self._bundle = (request.sha256, data)
            bundle = self._bundle[1]
        for offset in range(0, len(bundle), CHUNK_BYTES):
            yield _wire.bundle_chunk(bundle[offset : offset + CHUNK_BYTES])

    async def _attach(self, requests: AsyncIterator[Any], context: Context) -> None:
        try:
            async with asyncio.timeout(HELLO_LIMIT_S):
                first = await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            return
        hello = _wire.hello_in(first)
        if hello is None:
            return
        token_id = ""
        if self._identity is not None:
            name, token_id = _holder(context)
            if name != hello.agent_id:
                text = f"a certificate of agent {name} says nothing for {hello.agent_id}; join again"
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        self._link += 1
        link = self._link
        outbox = self._links[link] = asyncio.Queue()
        self._on_event(_wire.child_spoke(link, first, token_id))
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(link, requests))
                await _write(outbox, context)  # until the link is ended, by the reader's end or by the relay
                reader.cancel()
        finally:
            self.end(link)
            self._on_event(e.ChildLeft(link))

    async def _read(self, link: int, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                self._on_event(_wire.child_spoke(link, request))
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            LOGGER.debug("the stream of a child broke")
        finally:
            self.end(link)


async def _write(outbox: asyncio.Queue[Any], context: Context) -> None:
    while (message := await outbox.get()) is not None:
        try:
            await context.write(_wire.encode_for_child(message))
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return


def _credentials(identity: Callable[[], ServerIdentity]) -> grpc.ServerCredentials:
    """Return TLS that asks every agent for a certificate of our authority, and shows ours as it is at that moment."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        now = identity()
        return grpc.ssl_server_certificate_configuration([(now.key, now.certificate)], now.authority)

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration, require_client_authentication=True)


def _holder(context: Context) -> tuple[str, str]:
    """Return name and token id in an agent's certificate, which TLS has verified; empty where they are not there."""
    values = context.auth_context().get("x509_pem_cert") or (b"",)
    try:
        subject = x509.load_pem_x509_certificate(bytes(next(iter(values)))).subject
        (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        (token,) = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    except ValueError:
        return "", ""
    return str(name.value), str(token.value)
