"""Pure translation between protobuf and `messages`. The only module of this room that knows the generated code.

`decode_request` bounds everything an agent may say: a message outside the bounds raises `WireError`, which costs the
agent its attachment and nobody else anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from loadproof_controller import messages as m
from loadproof_controller.text import clean
from loadproof_proto.v1 import agent_pb2 as pb
from loadproof_proto.v1 import agent_pb2_grpc as pb_grpc

__all__ = ["WireError", "decode_request", "encode_chunk", "encode_response", "pb", "pb_grpc"]

NAME_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 2_000
DETAIL_CHARACTERS_MAX = 20_000
LABELS_MAX = 32
WORKERS_MAX = 1_024
RANGES_MAX = 1_024
SHARDS_MAX = 65_536
PROBLEMS_MAX = 100
LOG_LINES_MAX = 200
DRAWS_MAX = 10_000
SHARED_BYTES_MAX = 1_048_576
AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class WireError(Exception):
    """An agent said something outside the protocol. The text is ours and safe to show to the agent."""


def decode_request(message: pb.AttachRequest) -> m.FromAgent:
    """Return the record in `message`. Raises `WireError` when it is empty or out of bounds."""
    kind = message.WhichOneof("message")
    decoder = _DECODERS.get(kind or "")
    if decoder is None:
        raise WireError("a message of a kind this controller does not know; update the controller")
    return decoder(message)


def encode_response(message: m.ToAgent) -> pb.AttachResponse:
    """Return `message` as protobuf."""
    return _ENCODERS[type(message)](message)


def encode_chunk(chunk: bytes) -> pb.FetchBundleResponse:
    """Return one part of a bundle."""
    return pb.FetchBundleResponse(chunk=chunk)


# --- agent to controller ----------------------------------------------------------------------------------------------


def _bounded(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise WireError(f"{count} {what} in one message, at most {limit} are allowed")


def _hello(message: pb.AttachRequest) -> m.Hello:
    hello = message.hello
    if not AGENT_ID.fullmatch(hello.agent_id):
        raise WireError("agent ids are 1 to 64 letters, digits, '.', '_' or '-' and begin with a letter or digit")
    _bounded("labels", len(hello.labels), LABELS_MAX)
    return m.Hello(
        protocol_min=hello.protocol_min,
        protocol_max=hello.protocol_max,
        layout_id=clean(hello.layout_id, 64),
        agent_id=hello.agent_id,
        epoch=hello.epoch,
        version=clean(hello.version, 64),
        python=clean(hello.python, 64),
        host=clean(hello.host, 255),
        pid=hello.pid,
        cores=min(max(hello.cores, 1), WORKERS_MAX),
        workers=min(max(hello.workers, 1), WORKERS_MAX),
        labels={clean(k, 100): clean(v, 200) for k, v in sorted(hello.labels.items())},
        identity=hello.identity[:512],
        capacity_permille=min(max(hello.capacity_permille or 1000, 1), 1_000_000),
        run_id=clean(hello.run_id, NAME_CHARACTERS_MAX),
    )


def _heartbeat(message: pb.AttachRequest) -> m.Heartbeat:
    beat = message.heartbeat
    _bounded("workers", len(beat.workers), WORKERS_MAX)
    return m.Heartbeat(
        run_id=clean(beat.run_id, NAME_CHARACTERS_MAX),
        monotonic_ns=beat.monotonic_ns,
        workers=tuple(
            m.WorkerReading(w.index, w.pid, w.silent_ms, w.in_flight, w.cpu_permille, w.memory_bytes, w.began_ns)
            for w in beat.workers
        ),
        unacked=beat.unacked,
        machine_cpu_permille=beat.machine_cpu_permille,
    )


def _problem(problem: pb.Problem) -> m.Problem:
    return m.Problem(
        code=clean(problem.code, 64),
        text=clean(problem.text, TEXT_CHARACTERS_MAX),
        detail=clean(problem.detail, DETAIL_CHARACTERS_MAX, lines=True),
    )


def _prepare_result(message: pb.AttachRequest) -> m.PrepareResult:
    result = message.prepare_result
    _bounded("problems", len(result.problems), PROBLEMS_MAX)
    return m.PrepareResult(clean(result.run_id, NAME_CHARACTERS_MAX), tuple(_problem(p) for p in result.problems))


def _setup_result(message: pb.AttachRequest) -> m.SetupResult:
    result = message.setup_result
    _bounded("bytes of shared data", len(result.shared), SHARED_BYTES_MAX)
    problem = _problem(result.problem) if result.HasField("problem") else None
    return m.SetupResult(clean(result.run_id, NAME_CHARACTERS_MAX), result.shared or b"null", problem)


def _teardown_result(message: pb.AttachRequest) -> m.TeardownResult:
    result = message.teardown_result
    problem = _problem(result.problem) if result.HasField("problem") else None
    return m.TeardownResult(clean(result.run_id, NAME_CHARACTERS_MAX), problem)


def _snapshot(message: pb.AttachRequest) -> m.SnapshotBlock:
    block = message.snapshot
    _bounded("ranges", len(block.ranges), RANGES_MAX)
    ranges = tuple(m.SnapshotRange(r.agent_id[:64], r.epoch, r.from_seq, r.to_seq) for r in block.ranges)
    if not ranges or any(r.from_seq < 1 or r.to_seq < r.from_seq for r in ranges):
        raise WireError("a snapshot without a proper range of numbers")
    return m.SnapshotBlock(clean(block.run_id, NAME_CHARACTERS_MAX), ranges, block.delta)


def _final(message: pb.AttachRequest) -> m.Final:
    final = message.final
    _bounded("shards", len(final.shards), SHARDS_MAX)
    return m.Final(
        run_id=clean(final.run_id, NAME_CHARACTERS_MAX),
        epoch=final.epoch,
        last_seq=final.last_seq,
        shards=tuple(m.ShardFinal(s.shard, s.fence, s.first_k, s.accounted) for s in final.shards),
        totals=final.totals,
        lost=final.lost,
    )


def _worker_event(message: pb.AttachRequest) -> m.WorkerEvent:
    event = message.worker_event
    return m.WorkerEvent(
        run_id=clean(event.run_id, NAME_CHARACTERS_MAX),
        worker=event.worker,
        kind=clean(event.kind, 32),
        text=clean(event.text, TEXT_CHARACTERS_MAX),
        transaction=clean(event.transaction, NAME_CHARACTERS_MAX),
        step=clean(event.step, NAME_CHARACTERS_MAX),
        at_offset_ns=event.at_offset_ns,
        number=event.number,
    )


def _logs(message: pb.AttachRequest) -> m.LogBatch:
    batch = message.logs
    _bounded("log lines", len(batch.lines), LOG_LINES_MAX)
    return m.LogBatch(clean(batch.run_id, NAME_CHARACTERS_MAX), tuple(clean(line, 1_000) for line in batch.lines))


def _pong(message: pb.AttachRequest) -> m.Pong:
    pong = message.pong
    return m.Pong(pong.id, pong.sent_ns, pong.received_ns, pong.answered_ns)


def _reserve(message: pb.AttachRequest) -> m.Reserve:
    reserve = message.reserve
    _bounded("reservations", len(reserve.draws), DRAWS_MAX)
    draws = tuple(m.UserDraws(d.user, d.dataset, d.draws) for d in reserve.draws)
    return m.Reserve(clean(reserve.run_id, NAME_CHARACTERS_MAX), reserve.id, draws)


_DECODERS: dict[str, Callable[[pb.AttachRequest], m.FromAgent]] = {
    "hello": _hello,
    "heartbeat": _heartbeat,
    "prepare_result": _prepare_result,
    "setup_result": _setup_result,
    "teardown_result": _teardown_result,
    "snapshot": _snapshot,
    "final": _final,
    "worker_event": _worker_event,
    "logs": _logs,
    "pong": _pong,
    "reserve": _reserve,
}


# --- controller to agent ----------------------------------------------------------------------------------------------


def _lease(x: m.Lease) -> pb.AttachResponse:
    shards = [
        pb.ShardGrant(
            shard=grant.shard,
            first_k=grant.first_k,
            draws=[pb.UserDraws(user=d.user, dataset=d.dataset, draws=d.draws) for d in grant.draws],
        )
        for grant in x.shards
    ]
    lease = pb.Lease(run_id=x.run_id, fence=x.fence, shards=shards, duration_ms=x.duration_ms, echo_ns=x.echo_ns)
    return pb.AttachResponse(lease=lease)


def _prepare(x: m.Prepare) -> pb.AttachResponse:
    return pb.AttachResponse(
        prepare=pb.Prepare(
            run_id=x.run_id,
            plan=x.plan,
            spec=x.spec,
            bundle_sha256=x.bundle_sha256,
            bundle_bytes=x.bundle_bytes,
            shard_count=x.shard_count,
            snapshot_ms=x.snapshot_ms,
            secrets=x.secrets,
            heartbeat_ms=x.heartbeat_ms,
            delta_version=x.delta_version,
        )
    )


def _welcome(x: m.Welcome) -> pb.AttachResponse:
    return pb.AttachResponse(
        welcome=pb.Welcome(
            protocol=x.protocol,
            agent_id=x.agent_id,
            heartbeat_ms=x.heartbeat_ms,
            orphan_grace_ms=x.orphan_grace_ms,
        )
    )


def _stop(x: m.Stop) -> pb.AttachResponse:
    return pb.AttachResponse(
        stop=pb.Stop(run_id=x.run_id, at_offset_ns=x.at_offset_ns, immediate=x.immediate, reason=x.reason)
    )


_ENCODERS: dict[type, Callable[..., pb.AttachResponse]] = {
    m.Welcome: _welcome,
    m.Refusal: lambda x: pb.AttachResponse(refusal=pb.Refusal(code=x.code, text=x.text)),
    m.Prepare: _prepare,
    m.Setup: lambda x: pb.AttachResponse(setup=pb.Setup(run_id=x.run_id)),
    m.Lease: _lease,
    m.Start: lambda x: pb.AttachResponse(start=pb.Start(run_id=x.run_id, start_at_ns=x.start_at_ns, shared=x.shared)),
    m.Stop: _stop,
    m.Teardown: lambda x: pb.AttachResponse(teardown=pb.Teardown(run_id=x.run_id, shared=x.shared)),
    m.SnapshotAck: lambda x: pb.AttachResponse(
        ack=pb.SnapshotAck(run_id=x.run_id, agent_id=x.agent_id, epoch=x.epoch, seq=x.seq)
    ),
    m.Ping: lambda x: pb.AttachResponse(ping=pb.Ping(id=x.id, sent_ns=x.sent_ns)),
    m.End: lambda x: pb.AttachResponse(end=pb.End(run_id=x.run_id)),
    m.Reserved: lambda x: pb.AttachResponse(reserved=pb.Reserved(run_id=x.run_id, id=x.id)),
}
