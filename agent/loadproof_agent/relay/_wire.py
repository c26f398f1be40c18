"""Between a relay's records and protobuf: pure. What passes through stays as its sender encoded it."""

from __future__ import annotations

from typing import Any, cast

from loadproof_agent import records as r
from loadproof_agent._wire import FROM_CONTROLLER, _fill, _read, decode_from_agent, encode_from_controller
from loadproof_agent.errors import UplinkError
from loadproof_agent.relay import events as e
from loadproof_agent.relay import records as rr
from loadproof_proto.v1 import agent_pb2, agent_pb2_grpc, relay_pb2
from loadproof_proto.v1.relay_pb2_grpc import RelayServiceStub

__all__ = [
    "agent_pb2",
    "bundle_chunk",
    "child_spoke",
    "decode_from_head",
    "encode_for_child",
    "encode_from_relay",
    "hello_in",
    "relay_stub",
    "serve_agents",
]

_FROM_RELAY = {
    rr.RelayHello: "hello",
    rr.ChildSaid: "said",
    rr.ChildGone: "gone",
    rr.RelayBeats: "beats",
    rr.RelayBlock: "block",
}
_FROM_HEAD: dict[str, type[Any]] = {
    "welcome": rr.RelayWelcome,
    "refusal": rr.RelayRefusal,
    "closed": rr.ChildClosed,
    "renewals": rr.Renewals,
    "answer": rr.BlockAnswer,
}
_READ_UP = frozenset({"hello", "heartbeat", "snapshot"})
_READ_DOWN = frozenset({"prepare", "lease", "ack", "end"})
"""What of the words that pass a relay has to read."""


def encode_from_relay(record: rr.FromRelay) -> relay_pb2.RelayRequest:
    """Return the message that carries `record` to the controller."""
    request = relay_pb2.RelayRequest()
    _fill(getattr(request, _FROM_RELAY[type(record)]), record)
    return request


def decode_from_head(response: relay_pb2.RelayResponse) -> e.Heard:
    """Return the event in a controller's message. Raises UplinkError on one this version does not know."""
    which = response.WhichOneof("message")
    if which == "told":
        told = response.told
        kind = told.message.WhichOneof("message") or ""
        inner = _read(getattr(told.message, kind), FROM_CONTROLLER[kind]) if kind in _READ_DOWN else None
        return e.Heard(rr.ChildTold(told.agent_id, told.epoch, told.message), cast("r.FromController | None", inner))
    if which is None or which not in _FROM_HEAD:
        text = "the controller sent a message this relay does not know; use equal versions"
        raise UplinkError("unknown_message", text, retry=False)
    return e.Heard(cast("rr.FromHead", _read(getattr(response, which), _FROM_HEAD[which])))


def hello_in(request: agent_pb2.AttachRequest) -> r.Hello | None:
    """Return the Hello in a child's message, None where it is another."""
    return cast("r.Hello", decode_from_agent(request)) if request.WhichOneof("message") == "hello" else None


def child_spoke(link: int, request: agent_pb2.AttachRequest, token_id: str = "") -> e.ChildSpoke:
    """Return the event in a child's message; the relay reads only what it has to."""
    read = request.WhichOneof("message") in _READ_UP
    passes = not read or request.WhichOneof("message") == "hello"
    message = request.SerializeToString() if passes else b""
    return e.ChildSpoke(link, decode_from_agent(request) if read else None, message, token_id)


def encode_for_child(message: r.FromController | agent_pb2.AttachResponse) -> agent_pb2.AttachResponse:
    """Return what goes to a child: a record of ours as a message, or what the controller said as it came."""
    return message if isinstance(message, agent_pb2.AttachResponse) else encode_from_controller(message)


def bundle_chunk(chunk: bytes) -> agent_pb2.FetchBundleResponse:
    """Return one part of a bundle."""
    return agent_pb2.FetchBundleResponse(chunk=chunk)


def serve_agents(servicer: Any, server: Any) -> None:
    """Serve AgentService on `server`."""
    agent_pb2_grpc.add_AgentServiceServicer_to_server(servicer, server)


def relay_stub(channel: Any) -> Any:
    """Return RelayService's methods over an asyncio channel."""
    return RelayServiceStub(channel)
