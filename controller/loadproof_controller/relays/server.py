"""Relays' end of the agents' port: RelayService over gRPC. What it is built on is said in `service`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
import grpc.aio

from loadproof.metrics import AGENTS_VERSION
from loadproof_controller import messages as m
from loadproof_controller._wire import WireError
from loadproof_controller.cadence import HEARTBEAT_MS
from loadproof_controller.errors import HostileData
from loadproof_controller.fleet import AgentLink
from loadproof_controller.relays import messages as rm
from loadproof_controller.relays._wire import decode_relay_request, encode_relay_response, relay_pb2, relay_pb2_grpc
from loadproof_controller.relays.links import RelayedLink, RelayLink
from loadproof_controller.relays.station import RelayStation
from loadproof_controller.service import HELLO_LIMIT_S, ControllerService

LOGGER = logging.getLogger(__name__)
PING_GAP_S = 0.1
"""Between exchanges with agents whose clock is not known yet."""
PING_EACH_S = 60.0
"""Between exchanges with one agent whose clock is; in that time clocks drift by a few milliseconds."""

Context = grpc.aio.ServicerContext[Any, Any]


class RelayServicer:
    """Lets relays in. `token_known` None: the port speaks plaintext, and there are no certificates."""

    def __init__(self, service: ControllerService, token_known: Callable[[str], bool] | None) -> None:
        self._service = service
        self._station = RelayStation(service.fleet, greet=self._greet, token_known=token_known)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on `server`."""
        relay_pb2_grpc.add_RelayServiceServicer_to_server(cast("Any", self), server)

    async def Relay(  # noqa: N802 (the name is the contract's)
        self, requests: AsyncIterator[relay_pb2.RelayRequest], context: Context
    ) -> None:
        """Serve one relay until either side ends the stream."""
        try:
            await self._relay(requests, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            LOGGER.exception("serving a relay failed")
            await context.abort(grpc.StatusCode.INTERNAL, "the controller failed on this stream; see its log")

    def _greet(self, link: AgentLink) -> None:
        link.send(self._service.welcome(link))
        run_id = link.hello.run_id
        if run_id and not self._service.running(run_id) and run_id not in self._service.held:
            link.send(m.End(run_id))

    async def _relay(self, requests: AsyncIterator[relay_pb2.RelayRequest], context: Context) -> None:
        fleet, member = self._service.fleet, self._service.member()
        refusal: m.Refusal | None = None
        try:
            hello = await _hello(requests)
            if hello is None:
                return
            refusal = fleet.judge_relay(hello, member.agent_id if member is not None else None)
        except WireError as error:
            hello, refusal = None, m.Refusal("protocol", str(error))
        if refusal is not None or hello is None:
            if refusal is not None:
                await context.write(encode_relay_response(rm.RelayRefusal(refusal.code, refusal.text)))
            return
        relay = RelayLink(hello)
        relay.token_id = member.token_id if member is not None else ""
        relay.send(rm.RelayWelcome(m.PROTOCOL_MAX, HEARTBEAT_MS, AGENTS_VERSION))
        fleet.attach_relay(relay)
        LOGGER.info("relay %s is attached", relay.relay_id)
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(relay, requests))
                pinger = tasks.create_task(_ping(relay))
                await _write(relay, context)  # until the link is closed, by the reader's end or by us
                reader.cancel()
                pinger.cancel()
        finally:
            relay.close()
            fleet.detach_relay(relay)
            LOGGER.info("relay %s is gone", relay.relay_id)

    async def _read(self, relay: RelayLink, requests: AsyncIterator[relay_pb2.RelayRequest]) -> None:
        """Take messages until the peer ends the stream or says something outside the protocol."""
        try:
            async for request in requests:
                self._station.heard(relay, decode_relay_request(request), time.monotonic_ns())
        except (WireError, HostileData) as error:
            LOGGER.warning("relay %s is put out: %s", relay.relay_id, error)
            relay.close(rm.RelayRefusal("protocol", str(error)))
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            LOGGER.debug("the stream of relay %s broke", relay.relay_id)
        finally:
            relay.close()


async def _hello(requests: AsyncIterator[relay_pb2.RelayRequest]) -> rm.RelayHello | None:
    try:
        async with asyncio.timeout(HELLO_LIMIT_S):
            first = decode_relay_request(await anext(requests))
    except (TimeoutError, StopAsyncIteration):
        return None
    if not isinstance(first, rm.RelayHello):
        raise WireError("the first message on a stream is RelayHello")
    return first


async def _write(relay: RelayLink, context: Context) -> None:
    """Write what is queued, one message at a time, until the link is closed or the peer gone."""
    while (message := await relay.next()) is not None:
        if isinstance(message, rm.ChildTold) and isinstance(message.message, m.Ping):
            link = relay.children.get((message.agent_id, message.epoch))
            if link is None:
                continue
            stamped = link.stamp(message.message, time.monotonic_ns())
            message = rm.ChildTold(message.agent_id, message.epoch, stamped)
        try:
            await context.write(encode_relay_response(message))
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            LOGGER.debug("relay %s is gone", relay.relay_id)
            return


async def _ping(relay: RelayLink) -> None:
    """Exchange clocks with the relay's agents: several times at once with those that came, then in turn."""
    turn: list[RelayedLink] = []
    credit = 0.0
    while True:
        for link in list(relay.children.values()):
            if not link.ready:
                link.ping()
        credit += len(relay.children) * PING_GAP_S / PING_EACH_S
        while credit >= 1.0:
            credit -= 1.0
            turn = turn or list(relay.children.values())
            if turn:
                turn.pop().ping()
        await asyncio.sleep(PING_GAP_S)
