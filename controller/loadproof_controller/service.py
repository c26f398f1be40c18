"""The controller as a gRPC server, the only module of this room that imports grpc.

Facts it is built on (grpcio 1.85): a killed peer looks like a normal end of the request iterator; a written message is
not a delivered one; text of an exception in a handler goes to the peer; `server.stop(grace)` is not a drain; without
`grpc.so_reuseport=0` two controllers share a port in silence; `keepalive_timeout_ms` alone has no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self, cast

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else every failed handshake of a stranger is a raw line in the log

import grpc
import grpc.aio

from loadproof_controller import messages as m
from loadproof_controller._wire import WireError, decode_request, encode_chunk, encode_response, pb, pb_grpc
from loadproof_controller.cadence import HEARTBEAT_MS, ping_gap_s_for
from loadproof_controller.errors import RunRefused, ServiceError
from loadproof_controller.fleet import ORPHAN_GRACE_S, AgentLink, Fleet
from loadproof_controller.gathering import Gathering
from loadproof_controller.listening import cannot_listen
from loadproof_controller.request import RunRequest
from loadproof_controller.resuming import Past
from loadproof_controller.runner import Runner
from loadproof_controller.security.authority import Member
from loadproof_report.rundata import RunData

LOGGER = logging.getLogger(__name__)
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
UNIX_PATH_BYTES_MAX = 103  # macOS; Linux allows 107
HELLO_LIMIT_S = 10.0
PING_BURST = 6
PING_BURST_GAP_S = 0.02
STOP_GRACE_S = 1.0
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # the one that works: 3 s instead of 70 s until a stopped peer is noticed
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_metadata_size", 8_192),
    ("grpc.http2.bdp_probe", 0),  # else messages are followed by pings that size the window; this one is wide enough
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
)


class ControllerService:
    """Listens for agents and runs plans on them, one run after another.

    `address` is `unix:/path` or `host:port` (port 0: any free one). Without `credentials` only a Unix socket or a
    loopback address is served. `interceptors` guard every call, `member` then says whose certificate the call that is
    on came with; `also_serve` adds services to the same address. `async with` listens; leaving stops a run that is on
    at once, ends every agent's stream after what is queued for it, and closes the address. Use it from one event loop
    only.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ServerCredentials | None = None,
        orphan_grace_s: float = ORPHAN_GRACE_S,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        member: Callable[[], Member | None] = lambda: None,
        also_serve: Callable[[grpc.aio.Server], None] | None = None,
    ) -> None:
        self._wanted_address = address
        self._credentials = credentials
        self._interceptors = tuple(interceptors)
        self._also_serve = also_serve
        self.member = member
        self._server: grpc.aio.Server | None = None
        self._runner: Runner | None = None
        self._busy = False
        self.held: set[str] = set()
        """Runs that are about to go on after a restart: agents that still work for them are not sent away."""
        self.address = address
        self.fleet = Fleet(orphan_grace_s=orphan_grace_s)

    async def __aenter__(self) -> Self:
        """Listen. Raises `ServiceError` when the address can't be had."""
        address = self._wanted_address
        unix = address.startswith("unix:")
        if unix and len(os.fsencode(address.removeprefix("unix:"))) > UNIX_PATH_BYTES_MAX:
            raise ServiceError(f"the socket's path is over {UNIX_PATH_BYTES_MAX} bytes long: {address}")
        if not unix and self._credentials is None and not is_loopback(address):
            raise ServiceError(f"{address} is reachable from other machines: it takes credentials to listen there")
        server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=self._interceptors)
        # Generated stubs type a servicer of both worlds; ours is the asyncio one.
        pb_grpc.add_AgentServiceServicer_to_server(cast("Any", _AgentServicer(self)), server)
        if self._also_serve is not None:
            self._also_serve(server)
        try:
            if self._credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            if unix:
                raise ServiceError(f"cannot listen at {address}: {error}") from error
            raise cannot_listen(address, "--listen or --agents-port", "where agents come in") from error
        if not unix:
            self.address = f"{address.rpartition(':')[0]}:{port}"
        await server.start()
        self._server = server
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, self._server = self._server, None
        if self._runner is not None:
            self._runner.stop("person", "the controller is shutting down", immediate=True)
        self.fleet.close()
        if server is not None:
            await server.stop(STOP_GRACE_S)

    def expect_local(self, identity: str, agent_id: str) -> None:
        """Let the local agent process that was given `identity` attach as `agent_id`."""
        self.fleet.expect(identity, agent_id)

    async def resume(self, past: Past) -> RunData:
        """Take a run whose controller was killed to its end; see `resuming.read_past`. Raises as `run` does."""
        return await self._run(Runner.resumed(past, self.fleet, tool_version=_tool_version()))

    async def run(self, request: RunRequest) -> RunData:
        """Run `request` on the attached agents and on those that attach in time; return what to report.

        Whatever happens to agents, suite or target ends in `RunData`. Raises `RunRefused` when another run is on,
        `ServiceError` outside `async with`, `RunLogError` when the log cannot be created. When cancelled, agents are
        told to stop at once.
        """
        unix = self._wanted_address.startswith("unix:")
        return await self._run(Runner(request, self.fleet, unix=unix, tool_version=_tool_version()))

    async def _run(self, runner: Runner) -> RunData:
        if self._server is None:
            raise ServiceError("the controller is not listening: use it in `async with`")
        if self._busy:
            raise RunRefused("another run is on; this controller runs one at a time")
        self._busy = True
        gathering = Gathering(runner, runner.coming)
        try:
            self._runner, self.fleet.listener = runner, gathering
            return await runner.run()
        finally:
            gathering.close()
            self._runner = self.fleet.listener = None
            self._busy = False

    def stop(self, run_id: str, *, immediate: bool = False, reason: str = "stopped by a person") -> bool:
        """End that run: drain and report, or at once. False when it is not on."""
        if self._runner is None or not self.running(run_id):
            return False
        self._runner.stop("person", reason, immediate=immediate)
        return True

    @property
    def current(self) -> Runner | None:
        """The run that is on, for those who show it; not to be changed."""
        return self._runner

    def running(self, run_id: str) -> bool:
        """Say whether that run is on."""
        return self._runner is not None and self._runner.request.run_id == run_id

    def run_of(self, link: AgentLink) -> str:
        """Return the run that agent works for, empty when it works for none."""
        if self._runner is None or self._runner.machine.member(link.agent_id, link.epoch) is None:
            return ""
        return self._runner.request.run_id

    def bundle(self, run_id: str, sha256: str) -> bytes | None:
        """Return the bundle of the run that is on, None for any other."""
        request = self._runner.request if self._runner is not None else None
        if request is None or request.run_id != run_id or request.bundle_info.sha256 != sha256:
            return None
        return request.bundle

    def welcome(self, link: AgentLink) -> m.Welcome:
        """Return what an admitted agent is told."""
        return m.Welcome(m.PROTOCOL_MAX, link.agent_id, HEARTBEAT_MS, int(self.fleet.orphan_grace_s * 1000))


class _AgentServicer:
    """The two calls agents make. Nothing of an exception reaches a peer."""

    def __init__(self, service: ControllerService) -> None:
        self._service = service

    async def Attach(  # noqa: N802 (the name is the contract's)
        self, requests: AsyncIterator[pb.AttachRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Serve one agent until either side ends the stream."""
        try:
            await self._attach(requests, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            LOGGER.exception("serving an agent failed")
            await context.abort(grpc.StatusCode.INTERNAL, "the controller failed on this stream; see its log")

    async def FetchBundle(  # noqa: N802 (the name is the contract's)
        self, request: pb.FetchBundleRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.FetchBundleResponse]:
        """Send the run's bundle in chunks of 1 MiB."""
        bundle = self._service.bundle(request.run_id, request.sha256)
        if bundle is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no run of this controller has that bundle")
        for offset in range(0, len(bundle), CHUNK_BYTES):
            yield encode_chunk(bundle[offset : offset + CHUNK_BYTES])

    async def _attach(
        self, requests: AsyncIterator[pb.AttachRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        fleet = self._service.fleet
        try:
            hello = await self._hello(requests)
            member = self._service.member()
            certified = member.agent_id if member is not None else None
            token_id = member.token_id if member is not None else ""
            refusal = fleet.judge(hello, certified, token_id) if hello is not None else None
        except WireError as error:
            hello, token_id, refusal = None, "", m.Refusal("protocol", str(error))
        if refusal is not None:
            await context.write(encode_response(refusal))
            if refusal.code == "full":
                LOGGER.warning("an agent was not let in: %s", refusal.text)
        if refusal is not None or hello is None:
            return
        link = fleet.attach(hello)
        link.token_id = token_id or link.token_id
        link.send(self._service.welcome(link))
        if hello.run_id and not self._service.running(hello.run_id) and hello.run_id not in self._service.held:
            link.send(m.End(hello.run_id))
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(link, requests))
                pinger = tasks.create_task(_ping(link, fleet))
                await _write(link, context)  # until the link is closed, by the reader's end or by us
                reader.cancel()
                pinger.cancel()
        finally:
            link.close()
            fleet.detach(link)

    async def _hello(self, requests: AsyncIterator[pb.AttachRequest]) -> m.Hello | None:
        """Return the first message; None when the peer leaves or says nothing within 10 s."""
        try:
            async with asyncio.timeout(HELLO_LIMIT_S):
                first = decode_request(await anext(requests))
        except (TimeoutError, StopAsyncIteration):
            return None
        if not isinstance(first, m.Hello):
            raise WireError("the first message on a stream is Hello")
        return first

    async def _read(self, link: AgentLink, requests: AsyncIterator[pb.AttachRequest]) -> None:
        """Take messages until the peer ends the stream or says something outside the protocol."""
        try:
            async for request in requests:
                message = decode_request(request)
                if isinstance(message, m.Hello):
                    raise WireError("a second Hello on one stream")
                self._service.fleet.heard(link, message, time.monotonic_ns())
        except WireError as error:
            link.close(m.Refusal("protocol", str(error)))
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            LOGGER.debug("the stream of agent %s broke", link.agent_id)
        finally:
            link.close()


async def _write(link: AgentLink, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Write what is queued, one message at a time, until the link is closed or the peer gone."""
    while (message := await link.next()) is not None:
        if isinstance(message, m.Ping):
            message = link.stamp(message, time.monotonic_ns())
        try:
            await context.write(encode_response(message))
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            LOGGER.debug("agent %s is gone", link.agent_id)
            return


async def _ping(link: AgentLink, fleet: Fleet) -> None:
    """Exchange clocks: several times at once, then every 4 s, or 8 s in a large fleet."""
    for _ in range(PING_BURST):
        link.ping()
        await asyncio.sleep(PING_BURST_GAP_S)
    while True:
        await asyncio.sleep(ping_gap_s_for(len(fleet)) if link.ready else PING_BURST_GAP_S * 10)
        link.ping()


def is_loopback(address: str) -> bool:
    """Say whether `HOST:PORT` can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _tool_version() -> str:
    try:
        return version("loadproof")
    except PackageNotFoundError:
        return "0"
