"""Translation between protobuf and the controller's records, and its bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof_controller import messages as m
from loadproof_controller._wire import WireError, decode_request, encode_response
from loadproof_proto.v1 import agent_pb2 as pb

DRAWS = (m.UserDraws(5, 1, 300),)
TO_AGENT: list[tuple[m.ToAgent, str]] = [
    (m.Welcome(1, "a", 1000, 30_000), "welcome"),
    (m.Refusal("full", "too many"), "refusal"),
    (m.Prepare("r", b"{}", b"[]", "ab", 3, 8, 1000, {"KEY": "v"}), "prepare"),
    (m.Setup("r"), "setup"),
    (m.Lease("r", 3, (m.ShardGrant(1, 20, DRAWS),), 15_000, 77), "lease"),
    (m.Start("r", 2**63, b"null"), "start"),
    (m.Stop("r", 5, immediate=True, reason="why"), "stop"),
    (m.Teardown("r", b"1"), "teardown"),
    (m.SnapshotAck("r", "a", 2**64 - 1, 9), "ack"),
    (m.Ping(4, 10), "ping"),
    (m.End("r"), "end"),
    (m.Reserved("r", 6), "reserved"),
]


def same(record: Any, message: Any) -> bool:
    """Say whether every field of the record is in the message under the same name."""
    if hasattr(record, "__dataclass_fields__"):
        return all(same(getattr(record, name), getattr(message, name)) for name in record.__dataclass_fields__)
    if isinstance(record, tuple):
        return len(record) == len(message) and all(map(same, record, message))
    return bool(record == (dict(message) if isinstance(record, dict) else message))


@pytest.mark.parametrize(("record", "kind"), TO_AGENT)
def test_what_is_said_to_agents_arrives_field_by_field(record: m.ToAgent, kind: str) -> None:
    """Every field of every record is in the message that carries it."""
    message = pb.AttachResponse.FromString(encode_response(record).SerializeToString())
    assert message.WhichOneof("message") == kind
    assert same(record, getattr(message, kind))


def test_every_kind_of_message_to_agents_is_covered() -> None:
    """The contract has no message this controller cannot write."""
    kinds = [field.name for field in pb.AttachResponse.DESCRIPTOR.oneofs_by_name["message"].fields]
    assert sorted(kinds) == sorted(kind for _record, kind in TO_AGENT)


FROM_AGENT: list[tuple[dict[str, Any], m.FromAgent]] = [
    (
        {"hello": pb.Hello(protocol_min=1, protocol_max=2, layout_id="l", agent_id="a-1", epoch=9, labels={"k": "v"})},
        m.Hello(1, 2, "l", "a-1", 9, labels={"k": "v"}),
    ),
    (
        {"heartbeat": pb.Heartbeat(monotonic_ns=5, workers=[pb.WorkerReading(index=1, pid=2, in_flight=3)])},
        m.Heartbeat("", 5, (m.WorkerReading(1, 2, 0, 3, 0, 0),)),
    ),
    (
        {"prepare_result": pb.PrepareResult(run_id="r", problems=[pb.Problem(code="c", text="t\x1b", detail="a\nb")])},
        m.PrepareResult("r", (m.Problem("c", "t?", "a\nb"),)),
    ),
    ({"setup_result": pb.SetupResult(run_id="r", shared=b"1")}, m.SetupResult("r", b"1")),
    (
        {"teardown_result": pb.TeardownResult(run_id="r", problem=pb.Problem(code="c"))},
        m.TeardownResult("r", m.Problem("c", "")),
    ),
    (
        {
            "snapshot": pb.SnapshotBlock(
                run_id="r", ranges=[pb.SnapshotRange(agent_id="a", epoch=1, from_seq=2, to_seq=3)], delta=b"d"
            )
        },
        m.SnapshotBlock("r", (m.SnapshotRange("a", 1, 2, 3),), b"d"),
    ),
    (
        {
            "final": pb.Final(
                run_id="r", epoch=1, last_seq=2, shards=[pb.ShardFinal(shard=1, fence=2, first_k=3, accounted=4)],
                totals=b"t", lost=5,
            )
        },
        m.Final("r", 1, 2, (m.ShardFinal(1, 2, 3, 4),), b"t", 5),
    ),
    (
        {"worker_event": pb.WorkerEvent(run_id="r", worker=1, kind="blocked", text="t", number=3)},
        m.WorkerEvent("r", 1, "blocked", "t", number=3),
    ),
    ({"logs": pb.LogBatch(run_id="r", lines=["a\u202eb"])}, m.LogBatch("r", ("a?b",))),
    ({"pong": pb.Pong(id=1, sent_ns=2, received_ns=3, answered_ns=4)}, m.Pong(1, 2, 3, 4)),
    (
        {"reserve": pb.Reserve(run_id="r", id=1, draws=[pb.UserDraws(user=5, dataset=1, draws=300)])},
        m.Reserve("r", 1, DRAWS),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "record"), FROM_AGENT)
def test_what_agents_say_arrives_cleaned(message: dict[str, Any], record: m.FromAgent) -> None:
    """Every field of every message is in its record; texts are without control characters."""
    assert decode_request(pb.AttachRequest(**message)) == record


def test_every_kind_of_message_from_agents_is_covered() -> None:
    """The contract has no message this controller cannot read."""
    kinds = [field.name for field in pb.AttachRequest.DESCRIPTOR.oneofs_by_name["message"].fields]
    assert sorted(kinds) == sorted(next(iter(message)) for message, _record in FROM_AGENT)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"snapshot": pb.SnapshotBlock(run_id="r")},
        {"snapshot": pb.SnapshotBlock(ranges=[pb.SnapshotRange(from_seq=0, to_seq=1)])},
        {"snapshot": pb.SnapshotBlock(ranges=[pb.SnapshotRange(from_seq=3, to_seq=2)])},
        {"logs": pb.LogBatch(lines=["x"] * 201)},
        {"heartbeat": pb.Heartbeat(workers=[pb.WorkerReading()] * 1_025)},
        {"reserve": pb.Reserve(draws=[pb.UserDraws()] * 10_001)},
        {"setup_result": pb.SetupResult(shared=b"x" * 1_048_577)},
        {"prepare_result": pb.PrepareResult(problems=[pb.Problem()] * 101)},
        {"hello": pb.Hello(agent_id="a" * 65)},
        {"hello": pb.Hello(agent_id="")},
    ],
)
def test_what_is_out_of_bounds_is_an_error(message: dict[str, Any]) -> None:
    """Every list and every number an agent chooses has a limit."""
    with pytest.raises(WireError):
        decode_request(pb.AttachRequest(**message))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    """Whatever parses as protobuf is either a record or a WireError."""
    try:
        message = pb.AttachRequest.FromString(data)
    except Exception:
        return
    try:
        decode_request(message)
    except WireError:
        return
