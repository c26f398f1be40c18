"""A relay's process: a thin shell around `RelayMachine`, a stream to the controller, and a port for its agents."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadproof.histogram import LAYOUT_ID
from loadproof.metrics import (
    AGENTS_VERSION,
    DENSE_VERSION,
    CodecError,
    Delta,
    Sums,
    attribute,
    decode_delta,
    encode_delta,
    merge_deltas,
    series_totals,
    sums_of,
)
from loadproof.trust import CONTROLLER_NAME, Token
from loadproof_agent import events as ae
from loadproof_agent.attached import join, supervise
from loadproof_agent.config import PROTOCOL_MAX, PROTOCOL_MIN, Limits
from loadproof_agent.enrolment import LOOPBACK, Enrolment, Membership, ServerIdentity
from loadproof_agent.errors import AgentError, ConfigurationError, RefusedError
from loadproof_agent.files import raise_open_files
from loadproof_agent.relay import events as e
from loadproof_agent.relay import records as rr
from loadproof_agent.relay.machine import RelayMachine
from loadproof_agent.relay.server import ChildrenServer
from loadproof_agent.relay.uplink import RELAY_SPEECH
from loadproof_agent.supervisor import package_version
from loadproof_agent.uplink import Uplink

LOGGER = logging.getLogger(__name__)
TICK_S = 0.1
UPLINK_LIMITS = Limits(outbox_max=65_536)


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Which controller to join, as what, and where to listen for agents (`HOST:PORT`, port 0: any free one)."""

    address: str
    token: Token = field(repr=False)
    name: str
    listen: str


def read_delta(data: bytes, agent_id: str) -> Delta | None:
    """Return the delta of the child `agent_id`, None when it can't be read: that is for the controller to judge."""
    try:
        delta = decode_delta(data)
    except CodecError:
        return None
    attribute(delta, agent_id)
    return delta


def write_delta(delta: Delta, version: int) -> bytes:
    """Return a delta as bytes for a controller that reads versions up to `version`."""
    return encode_delta(delta, dense=version >= DENSE_VERSION, agents=version >= AGENTS_VERSION)


def merge(deltas: Sequence[Delta]) -> Delta:
    """Return the sum of deltas."""
    return deltas[0] if len(deltas) == 1 else merge_deltas(deltas)


def counted(delta: Delta) -> Sums:
    """Return what a delta counts."""
    return sums_of(series_totals(delta))


def started(delta: Delta) -> int:
    """Return how many arrivals or iterations began in a delta."""
    return sum(delivery.started for delivery in delta.delivery.values())


class Relay:
    """One relay that has joined. `identity` is what it shows its agents; None: plaintext, for loopback.

    `run()` serves until `stop()`: then its agents' streams are ended. They go elsewhere or wait, and say again what was
    not acked. It raises `RefusedError` when the controller does not let the relay in, `UplinkError` when
    trying to reach it again can't help, and `ConfigurationError` when it can't listen.
    """

    def __init__(self, member: Membership, listen: str, identity: Callable[[], ServerIdentity] | None) -> None:
        hello = rr.RelayHello(
            PROTOCOL_MIN, PROTOCOL_MAX, LAYOUT_ID, member.agent_id, secrets.randbits(63) or 1, package_version(),
            socket.gethostname(), member.identity,
        )  # fmt: skip
        self._machine: RelayMachine[Delta] = RelayMachine(
            hello, decode=read_delta, merge=merge, encode=write_delta, sums=counted, started=started,
        )  # fmt: skip
        self._uplink = Uplink(
            (member.address,), on_event=self._linked, limits=UPLINK_LIMITS, credentials=member.credentials,
            authority=CONTROLLER_NAME, speech=RELAY_SPEECH,
        )  # fmt: skip
        self._children = ChildrenServer(
            listen, on_event=self._handle, fetch=self._uplink.fetch_bundle,
            identity=identity,
        )  # fmt: skip
        self._listen = listen
        self._stopping = asyncio.Event()
        self._error: AgentError | None = None
        self._said = ""
        self.use = self._uplink.use

    @property
    def port(self) -> int:
        """Return where agents come in, while it runs."""
        return self._children.port

    @property
    def attached(self) -> bool:
        """Whether the controller has greeted it on a stream that is open."""
        return self._machine.up == "open"

    def stop(self) -> None:
        """Let `run` end; see the class."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop()`; see the class."""
        async with self._children, asyncio.TaskGroup() as group:
            host = self._listen.rpartition(":")[0]
            LOGGER.info("agents come in at %s:%d", host, self._children.port)
            ticking = group.create_task(self._tick(), name="tick")
            linking = group.create_task(self._link(), name="uplink")
            await self._stopping.wait()
            self._uplink.close()
            ticking.cancel()
            await asyncio.wait([linking])
        if self._error is not None:
            raise self._error

    async def _link(self) -> None:
        try:
            await self._uplink.run()
        except AgentError as error:
            self._error = self._error or error
        finally:
            self.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._handle(e.Tick())

    def _linked(self, event: ae.Connected | ae.Disconnected | ae.Received) -> None:
        match event:
            case ae.Connected():
                self._handle(e.UplinkOpened())
            case ae.Disconnected(reason):
                self._say(f"not attached to {self._uplink.address}, trying again: {reason}")
                self._handle(e.UplinkClosed())
            case ae.Received():
                heard: e.Heard = event.record  # type: ignore[assignment]  # what our speech decodes to
                if isinstance(heard.record, rr.RelayWelcome):
                    self._say(f"attached to {self._uplink.address} as relay {self._machine.hello.relay_id}")
                self._handle(heard)

    def _say(self, text: str) -> None:
        if text != self._said:
            LOGGER.info("%s", text)
        self._said = text

    def _handle(self, event: e.Event) -> None:
        for instruction in self._machine.handle(event, time.monotonic_ns()):
            match instruction:
                case e.SendUp(record):
                    self._uplink.send(record)
                case e.SendChild(link, message):
                    self._children.send(link, message)
                case e.EndChild(link, refusal):
                    self._children.end(link, refusal)
                case e.Leave(code, text):
                    self._error = RefusedError(code, f"the controller does not let this relay in ({code}): {text}")
                    self.stop()


async def run_relay(options: RelayOptions) -> None:
    """Be a relay until SIGTERM or SIGINT. Any outage is waited out.

    Raises `AgentError` when trying again can't help: a wrong token, another controller, a port that is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    raise_open_files()
    enrolment = Enrolment(options.address, options.token, options.name)
    member = await join(enrolment, stop)
    if member is None:
        return
    if member.credentials is None and options.listen.rpartition(":")[0].strip("[]") not in LOOPBACK:
        text = f"the controller speaks plaintext, so that its relays listen on loopback only, not at {options.listen}"
        raise ConfigurationError(text)
    relay = Relay(member, options.listen, enrolment.server_identity if member.credentials is not None else None)
    failed: AgentError | None = None
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(_stop_on(stop, relay))
        try:
            await supervise(relay, enrolment, member)
        except AgentError as error:
            failed = error
        leaving.cancel()
    if failed is not None:
        raise failed


async def _stop_on(stop: asyncio.Event, relay: Relay) -> None:
    await stop.wait()
    relay.stop()
