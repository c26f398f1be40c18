"""Pure translation between RelayService's messages and `messages`; what a child says is bounded as any agent's."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from loadproof_controller._wire import AGENT_ID, NAME_CHARACTERS_MAX, WireError, decode_request, encode_response
from loadproof_controller.relays import messages as rm
from loadproof_controller.text import clean
from loadproof_proto.v1 import agent_pb2, relay_pb2, relay_pb2_grpc

__all__ = ["decode_relay_request", "encode_relay_response", "relay_pb2", "relay_pb2_grpc"]

CHILDREN_MAX = 2_000
"""Children one message may name; a relay takes 1,000."""


def decode_relay_request(message: relay_pb2.RelayRequest) -> rm.FromRelay:
    """Return the record in `message`. Raises `WireError` when it is empty or out of bounds."""
    decoder = _DECODERS.get(message.WhichOneof("message") or "")
    if decoder is None:
        raise WireError("a message of a kind this controller does not know; update the controller")
    return decoder(message)


def encode_relay_response(message: rm.ToRelay) -> relay_pb2.RelayResponse:
    """Return `message` as protobuf."""
    return _ENCODERS[type(message)](message)


def _name(agent_id: str) -> str:
    if not AGENT_ID.fullmatch(agent_id):
        raise WireError("names are 1 to 64 letters, digits, '.', '_' or '-' and begin with a letter or digit")
    return agent_id


def _bounded(count: int) -> None:
    if count > CHILDREN_MAX:
        raise WireError(f"{count} agents in one message, at most {CHILDREN_MAX} are allowed")


def _hello(message: relay_pb2.RelayRequest) -> rm.RelayHello:
    hello = message.hello
    return rm.RelayHello(
        hello.protocol_min,
        hello.protocol_max,
        clean(hello.layout_id, 64),
        _name(hello.relay_id),
        hello.epoch,
        clean(hello.version, 64),
        clean(hello.host, 255),
        hello.identity[:512],
    )


def _said(message: relay_pb2.RelayRequest) -> rm.ChildSaid:
    said = message.said
    try:
        inner = agent_pb2.AttachRequest.FromString(said.message)
    except DecodeError as error:
        raise WireError("a relay passes on what is no message") from error
    return rm.ChildSaid(_name(said.agent_id), said.epoch, decode_request(inner), clean(said.token_id, 64))


def _gone(message: relay_pb2.RelayRequest) -> rm.ChildGone:
    return rm.ChildGone(_name(message.gone.agent_id), message.gone.epoch)


def _beats(message: relay_pb2.RelayRequest) -> rm.RelayBeats:
    _bounded(len(message.beats.beats))
    return rm.RelayBeats(
        tuple(
            rm.ChildBeat(
                beat.agent_id,
                beat.epoch,
                beat.run_id,
                beat.monotonic_ns,
                beat.in_flight,
                beat.cpu_permille,
                beat.memory_bytes,
                beat.began_ns,
                beat.machine_cpu_permille,
            )
            for beat in message.beats.beats
        )
    )


def _block(message: relay_pb2.RelayRequest) -> rm.RelayBlock:
    block = message.block
    _bounded(len(block.ranges))
    ranges = tuple(
        rm.RelayedRange(
            where.agent_id,
            where.epoch,
            where.from_seq,
            where.to_seq,
            where.n,
            where.total,
            where.checksum,
            where.started if where.HasField("started") else None,
        )
        for where in block.ranges
    )
    if not ranges or any(where.from_seq < 1 or where.to_seq < where.from_seq for where in ranges):
        raise WireError("a block without a proper range of numbers")
    if len({where.agent_id for where in ranges}) < len(ranges):
        raise WireError("a block names an agent twice")
    return rm.RelayBlock(clean(block.run_id, NAME_CHARACTERS_MAX), block.number, ranges, block.delta)


_DECODERS: dict[str, Callable[[relay_pb2.RelayRequest], rm.FromRelay]] = {
    "hello": _hello,
    "said": _said,
    "gone": _gone,
    "beats": _beats,
    "block": _block,
}


def _renewals(x: rm.Renewals) -> relay_pb2.RelayResponse:
    renewals = [
        relay_pb2.Renewal(agent_id=r.agent_id, epoch=r.epoch, fence=r.fence, echo_ns=r.echo_ns) for r in x.renewals
    ]
    terms = relay_pb2.Renewals(run_id=x.run_id, duration_ms=x.duration_ms, renewals=renewals)
    return relay_pb2.RelayResponse(renewals=terms)


def _answer(x: rm.BlockAnswer) -> relay_pb2.RelayResponse:
    states = [
        relay_pb2.RangeState(agent_id=s.agent_id, epoch=s.epoch, last_seq=s.last_seq, unwanted=s.unwanted)
        for s in x.states
    ]
    answer = relay_pb2.BlockAnswer(number=x.number, verdict=x.verdict, states=states)
    return relay_pb2.RelayResponse(answer=answer)


_ENCODERS: dict[type, Callable[..., relay_pb2.RelayResponse]] = {
    rm.RelayWelcome: lambda x: relay_pb2.RelayResponse(
        welcome=relay_pb2.RelayWelcome(protocol=x.protocol, heartbeat_ms=x.heartbeat_ms, delta_version=x.delta_version)
    ),
    rm.RelayRefusal: lambda x: relay_pb2.RelayResponse(refusal=relay_pb2.RelayRefusal(code=x.code, text=x.text)),
    rm.ChildTold: lambda x: relay_pb2.RelayResponse(
        told=relay_pb2.ChildTold(agent_id=x.agent_id, epoch=x.epoch, message=encode_response(x.message))
    ),
    rm.ChildClosed: lambda x: relay_pb2.RelayResponse(closed=relay_pb2.ChildClosed(agent_id=x.agent_id, epoch=x.epoch)),
    rm.Renewals: _renewals,
    rm.BlockAnswer: _answer,
}
