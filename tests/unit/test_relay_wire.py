"""What relays and controllers say survives the wire; what a relay must not say is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from grpc._cython import cygrpc

from loadproof_agent import _wire as agent_wire
from loadproof_agent import records as r
from loadproof_agent.relay import _wire as ours
from loadproof_agent.relay import records as rr
from loadproof_agent.relay.server import OPTIONS
from loadproof_agent.uplink import OPTIONS as UPLINK_OPTIONS
from loadproof_controller import messages as m
from loadproof_controller._wire import WireError
from loadproof_controller.relays import _wire as theirs
from loadproof_controller.relays import messages as rm
from loadproof_controller.service import SERVER_OPTIONS
from loadproof_proto.v1 import relay_pb2

RANGE = rr.RelayedRange("a", 7, 1, 2, 3, 2**64 - 1, 2**63, started=0)


def as_plain(record: Any) -> Any:
    """Return a record's fields, whichever side it is of."""
    if dataclasses.is_dataclass(record):
        return {field.name: as_plain(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, tuple):
        names = getattr(record, "_fields", None)
        return [as_plain(item) for item in record] if names is None else as_plain_items(names, record)
    return record


def as_plain_items(names: tuple[str, ...], record: tuple[Any, ...]) -> dict[str, Any]:
    """Return the fields of a named tuple."""
    return {name: as_plain(item) for name, item in zip(names, record, strict=True)}


@pytest.mark.parametrize(
    "record",
    [
        rr.RelayHello(1, 1, "layout", "r-1", 2**63, "1.0", "host", "identity"),
        rr.ChildGone("a", 7),
        rr.RelayBlock("run", 3, (RANGE, rr.RelayedRange("b", 8, 4, 4)), b"delta"),
    ],
)
def test_what_a_relay_says_arrives_as_it_was(record: rr.FromRelay) -> None:
    """Every field of the relay's record is the controller's."""
    assert as_plain(theirs.decode_relay_request(ours.encode_from_relay(record))) == as_plain(record)


def test_a_childs_words_pass_as_they_are() -> None:
    """The controller reads of a ChildSaid what the child has written, Hello with the id of its token."""
    batch = r.LogBatch("run", ("line",))
    said = ours.child_spoke(4, agent_wire.encode_from_agent(batch))
    assert (said.link, said.record) == (4, None)
    up = ours.encode_from_relay(rr.ChildSaid("a", 7, said.message, "token"))
    assert theirs.decode_relay_request(up) == rm.ChildSaid("a", 7, m.LogBatch("run", ("line",)), "token")
    hello = r.Hello(1, 1, "layout", "a", 7)
    request = agent_wire.encode_from_agent(hello)
    assert ours.hello_in(request) == ours.child_spoke(4, request, "token").record == hello
    beat = r.Heartbeat("run", 5)
    assert ours.child_spoke(4, agent_wire.encode_from_agent(beat)).record == beat


def test_heartbeats_arrive_as_those_of_one_worker() -> None:
    """Readings are taken together by the relay already."""
    beat = rr.ChildBeat("a", 7, "run", 5, 3, 400, 10, 50, 111, 2)
    up = ours.encode_from_relay(rr.RelayBeats((beat,)))
    assert theirs.decode_relay_request(up) == rm.RelayBeats((rm.ChildBeat("a", 7, "run", 5, 3, 400, 10, 50, 111),))


@pytest.mark.parametrize(
    "message",
    [
        rm.RelayWelcome(1, 1_000),
        rm.RelayRefusal("full", "why"),
        rm.ChildClosed("a", 7),
        rm.Renewals("run", 15_000, (rm.Renewal("a", 7, 2, 55), rm.Renewal("b", 8, 2, 66))),
        rm.BlockAnswer(3, "again", (rm.RangeState("a", 7, 5), rm.RangeState("b", 8, 0, unwanted=True))),
    ],
)
def test_what_a_controller_says_arrives_as_it_was(message: rm.ToRelay) -> None:
    """Every field of the controller's record is the relay's."""
    heard = ours.decode_from_head(theirs.encode_relay_response(message))
    assert as_plain(heard.record) == as_plain(message)
    assert heard.told is None


def test_of_what_passes_down_a_relay_reads_what_it_has_to() -> None:
    """The rest goes to the child as the controller encoded it; so do these."""
    lease = m.Lease("run", 1, (m.ShardGrant(3),), 15_000, 9)
    for message, read in ((lease, True), (m.SnapshotAck("run", "a", 7, 4), True), (m.End("run"), True),
                          (m.Start("run", 5, b"{}"), False)):  # fmt: skip
        heard = ours.decode_from_head(theirs.encode_relay_response(rm.ChildTold("a", 7, message)))
        assert isinstance(heard.record, rr.ChildTold)
        assert (heard.told is not None) == read
        told = agent_wire.decode_from_controller(ours.encode_for_child(heard.record.message))
        assert as_plain(told) == as_plain(message)


@pytest.mark.parametrize(
    "request_",
    [
        relay_pb2.RelayRequest(),
        relay_pb2.RelayRequest(hello=relay_pb2.RelayHello(relay_id="../x")),
        relay_pb2.RelayRequest(gone=relay_pb2.ChildGone(agent_id="")),
        relay_pb2.RelayRequest(said=relay_pb2.ChildSaid(agent_id="a", epoch=1, message=b"\xff\xff")),
        relay_pb2.RelayRequest(said=relay_pb2.ChildSaid(agent_id="a", epoch=1)),
        relay_pb2.RelayRequest(block=relay_pb2.RelayBlock(run_id="run", number=1)),
        relay_pb2.RelayRequest(
            block=relay_pb2.RelayBlock(ranges=[relay_pb2.RelayedRange(agent_id="a", epoch=1, from_seq=0, to_seq=1)])
        ),
        relay_pb2.RelayRequest(
            block=relay_pb2.RelayBlock(
                ranges=[relay_pb2.RelayedRange(agent_id="a", epoch=e, from_seq=1, to_seq=1) for e in (1, 2)]
            )
        ),
        relay_pb2.RelayRequest(beats=relay_pb2.RelayBeats(beats=[relay_pb2.ChildBeat(agent_id="a")] * 2_001)),
    ],
)
def test_what_no_relay_may_say_is_refused(request_: relay_pb2.RelayRequest) -> None:
    """Empty, out of bounds, or an agent named twice in a block."""
    with pytest.raises(WireError):
        theirs.decode_relay_request(request_)


def test_every_option_is_one_that_grpc_knows() -> None:
    """A misspelt option is ignored in silence: an idle relay was put out for pings that were thought to be allowed."""
    core = Path(cygrpc.__file__).read_bytes()
    for name, _value in {*OPTIONS, *UPLINK_OPTIONS, *SERVER_OPTIONS}:
        assert name.encode() in core, name
