"""The stream to the controller: the only module of the agent that imports grpc.

Facts this rests on (measured on grpcio 1.85): a successful `write()` is not delivery, only our own acks are; a write
must never be cancelled while the stream is used on, so one task writes and ends with its stream; keepalive cleans up
sockets but never sees a blocked Python loop, so the application's heartbeats decide; keepalive's own timeout has no
effect without `grpc.http2.ping_timeout_ms`; without explicit backoff a reconnect took 10 s longer after a minute's
outage; an `http_proxy` variable would hijack the stream. One channel lives until the agent's certificate is renewed,
one loop owns it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # workers are started with exec, never forked
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the core's own lines say nothing an operator can act on

import grpc
import grpc.aio

from loadproof_agent import _wire
from loadproof_agent import events as e
from loadproof_agent.config import Limits
from loadproof_agent.errors import RunError, UplinkError
from loadproof_agent.records import Heartbeat, LogBatch, SnapshotBlock

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
)

LinkEvent = e.Connected | e.Disconnected | e.Received
Call = grpc.aio.StreamStreamCall[Any, Any]

FETCH_TIMEOUT_S = 60.0
VERIFY_FAILED = "CERTIFICATE_VERIFY_FAILED"
"""How TLS's own words begin, in gRPC's details, when it is the peer's certificate that is no good."""
HALF_CLOSE_S = 2.0

_FINAL = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)
"""Statuses that trying again does not mend. Anything else, INTERNAL included, may be a stream that ended early."""

_REFUSALS = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)
"""Statuses whose details say everything: the status would only say it again."""


def error_of(error: BaseException, address: str) -> UplinkError:
    """Return our error for whatever gRPC raised; the one place that reads status codes."""
    if isinstance(error, UplinkError):
        return error
    if isinstance(error, grpc.aio.AioRpcError):
        code = error.code()
        details = (error.details() or "").strip() or "no details"
        if any(f"{VERIFY_FAILED}: certificate {what}" in details for what in ("is not yet valid", "has expired")):
            text = f"by the clock of this machine the certificate of {address} is not good now: set the clock of one"
            return UplinkError("clock", f"{text} of the two, or start the controller again", retry=True)
        if code is grpc.StatusCode.INTERNAL:  # gRPC's own word, sometimes in place of a refusal: the next try tells
            return UplinkError("internal", f"the stream to the controller at {address} broke: {details}", retry=True)
        how = "refused" if code in _REFUSALS else code.name.lower()
        return UplinkError(code.name.lower(), f"the controller at {address} {how}: {details}", retry=code not in _FINAL)
    return UplinkError("broken", f"the stream to {address} broke: {type(error).__name__}: {error}", retry=True)


@dataclass(frozen=True, slots=True)
class Speech:
    """How one kind of peer talks to its controller: which stream it opens on a channel, and both translations."""

    open: Callable[[grpc.aio.Channel], Call]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


AGENT_SPEECH = Speech(
    lambda channel: cast("Call", _wire.stub(channel).Attach()), _wire.encode_from_agent, _wire.decode_from_controller
)


class Outbox:
    """What waits to be written on one stream: bounded, in order.

    A heartbeat goes before everything, in place of an older one: leases hang on it. A block that still waits is not put
    behind itself when it is said again: on a slow link the repetitions would be more than the news.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Any] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self._aborted = False

    def put(self, record: Any) -> bool:
        """Add a record; False when the box is full, which means that the stream is stuck."""
        beats, repeats = isinstance(record, Heartbeat), isinstance(record, SnapshotBlock)
        if beats and self._waiting and isinstance(self._waiting[0], Heartbeat):
            self._waiting.popleft()
        if repeats and record in self._waiting:
            return True
        if len(self._waiting) >= self._limit:
            return isinstance(record, LogBatch)  # log lines are not worth a stream
        if beats:
            self._waiting.appendleft(record)
        else:
            self._waiting.append(record)
        self._ready.set()
        return True

    def close(self) -> None:
        """Let `get` return None once what waits is taken."""
        self._closed = True
        self._ready.set()

    def abort(self) -> None:
        """Forget what waits and let `get` return None."""
        self._aborted = True
        self._waiting.clear()
        self.close()

    @property
    def aborted(self) -> bool:
        """Whether nothing more can be said, not even that this is the end."""
        return self._aborted

    async def get(self) -> Any:
        """Return the next record, or None at the end."""
        while not self._waiting:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()


class Uplink:
    """One agent's stream, opened again whenever it breaks, at the next of `addresses` in turn.

    `run()` returns after `close()`, when what was said before is written and the stream is half-closed (at most
    `HALF_CLOSE_S` seconds later); it raises UplinkError when trying again can't help. Cancelling it drops the stream.
    `on_event` is called from the loop with Connected, Received and Disconnected, strictly in turn.
    """

    def __init__(
        self,
        addresses: tuple[str, ...],
        *,
        on_event: Callable[[LinkEvent], None],
        limits: Limits,
        credentials: grpc.ChannelCredentials | None = None,
        authority: str | None = None,
        speech: Speech = AGENT_SPEECH,
    ) -> None:
        self._addresses = deque(addresses)
        self._speech = speech
        self._on_event = on_event
        self._limits = limits
        self._credentials = credentials
        self._authority = authority
        self._outbox: Outbox | None = None
        self._call: Call | None = None
        self._closing = asyncio.Event()
        self._stale = False
        self._channel_now: grpc.aio.Channel | None = None

    @property
    def address(self) -> str:
        """Return where the stream goes, or goes next."""
        return self._addresses[0]

    def send(self, record: Any) -> None:
        """Queue a record for the open stream; without one it is dropped, the state machine says it again."""
        if self._outbox is not None and not self._outbox.put(record):
            self.drop()

    def drop(self) -> None:
        """Close the stream now and open another."""
        if self._call is not None:
            self._call.cancel()

    def use(self, credentials: grpc.ChannelCredentials) -> None:
        """Show a new certificate from the next stream on; the one that is open lives on."""
        self._credentials = credentials
        self._stale = True

    def close(self) -> None:
        """Write what waits, half-close, and let `run` return."""
        self._closing.set()
        if self._outbox is not None:
            self._outbox.close()
            asyncio.get_running_loop().call_later(HALF_CLOSE_S, self.drop)

    async def run(self) -> None:
        """Keep a stream open; see the class."""
        pause_ms, longest_ms = self._limits.reconnect_ms
        failures = 0
        while not self._closing.is_set():
            self._stale = False
            async with self._channel() as channel:
                self._channel_now = channel
                while not self._closing.is_set() and not self._stale:
                    heard, error = await self._stream(channel)
                    if error is not None and not error.retry:
                        raise error
                    failures = 0 if heard else failures + 1
                    self._addresses.rotate(-1)
                    # One name may lead to several peers: who said nothing is not asked again over the same connection.
                    if not heard or len(self._addresses) > 1:
                        self._stale = True
                    if not self._closing.is_set():
                        await self._pause(min(pause_ms * 2**failures, longest_ms) / 1_000)

    def _channel(self) -> grpc.aio.Channel:
        options = list(OPTIONS)
        if self._authority is not None:
            options.append(("grpc.ssl_target_name_override", self._authority))  # type: ignore[arg-type]
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        return grpc.aio.secure_channel(self.address, self._credentials, options=options)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _stream(self, channel: grpc.aio.Channel) -> tuple[bool, UplinkError | None]:
        """Live through one stream; returns whether the controller said anything on it, and what ended it."""
        call = self._call = self._speech.open(channel)
        outbox = self._outbox = Outbox(self._limits.outbox_max)
        heard = False
        error: UplinkError | None = None
        self._on_event(e.Connected())
        if self._closing.is_set():
            outbox.close()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_write(call, outbox, self._speech.encode))
                while (message := await call.read()) is not grpc.aio.EOF:
                    heard = True
                    self._on_event(e.Received(self._speech.decode(message)))
                outbox.abort()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # A call we cancel ourselves ends its reads like a cancelled task does: `drop` was called.
        except ExceptionGroup as broken:
            error = error_of(broken.exceptions[0], self.address)
        finally:
            call.cancel()
            self._call = self._outbox = None
        self._on_event(e.Disconnected(error.text if error else "the stream was closed"))
        return heard, error

    async def fetch_bundle(self, run_id: str, sha256: str, size: int) -> bytes:
        """Return a bundle's bytes, at most `size`. Raises RunError."""
        assert self._channel_now is not None, "fetch while `run` runs"
        data = bytearray()
        try:
            request = _wire.bundle_request(run_id, sha256)
            async for response in _wire.stub(self._channel_now).FetchBundle(request, timeout=FETCH_TIMEOUT_S):
                data += response.chunk
                if len(data) > size:
                    raise RunError("bundle", f"the controller sends more than the {size} bytes it announced")
        except grpc.aio.AioRpcError as error:
            mapped = error_of(error, self.address)
            raise RunError("bundle", f"the suite's bundle can't be fetched: {mapped.text}") from error
        return bytes(data)


async def _write(call: Call, outbox: Outbox, encode: Callable[[Any], Any]) -> None:
    """Write until the outbox ends, then half-close. The only writer of its stream, and cancelled only with it."""
    while (record := await outbox.get()) is not None:
        await call.write(encode(record))
    if not outbox.aborted:
        await call.done_writing()
