"""Pure translation between the messages of RunService and EnrollService and our records."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from loadproof_controller.errors import ClientError
from loadproof_controller.fleet_service import FleetEntry, Queued
from loadproof_controller.request import Progress
from loadproof_controller.run_store import RunEntry
from loadproof_controller.security import TokenEntry
from loadproof_controller.text import clean
from loadproof_proto.v1 import enroll_pb2, enroll_pb2_grpc, run_pb2, run_pb2_grpc

__all__ = [
    "decode_fleet_entry",
    "decode_progress",
    "decode_run_entry",
    "decode_token_entry",
    "encode_ended",
    "encode_fleet_entry",
    "encode_progress",
    "encode_queued",
    "encode_run_entry",
    "encode_token_entry",
    "enroll_pb2",
    "enroll_pb2_grpc",
    "run_pb2",
    "run_pb2_grpc",
]

_PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)
_RUN_STATES = frozenset({"queued", "running", "finished", "aborted", "failed"})


def encode_progress(progress: Progress) -> run_pb2.WatchResponse:
    """Return a look at a run as a message."""
    return run_pb2.WatchResponse(progress=_PROGRESS.dump_json(progress))


def decode_progress(data: bytes) -> Progress:
    """Return the look at a run in `data`. Raises `ClientError`."""
    try:
        return _PROGRESS.validate_json(data)
    except ValidationError as error:
        raise ClientError("version", "the controller tells of the run in words this version does not know") from error


def encode_queued(queued: Queued) -> run_pb2.WatchResponse:
    """Return a place in the queue as a message."""
    return run_pb2.WatchResponse(queued=run_pb2.Queued(ahead=queued.ahead))


def encode_ended(entry: RunEntry) -> run_pb2.WatchResponse:
    """Return the end of a run as a message."""
    ended = run_pb2.RunEnded(
        status=entry.state,
        aborted_by=entry.aborted_by,
        reason=entry.reason,
        loaded=entry.loaded,
        problems=entry.problems,
    )
    return run_pb2.WatchResponse(ended=ended)


def encode_run_entry(entry: RunEntry) -> run_pb2.RunEntry:
    """Return what is known of a run as a message."""
    return run_pb2.RunEntry(
        run_id=entry.run_id,
        suite=entry.suite,
        profile=entry.profile,
        state=entry.state,
        submitted_at=entry.submitted_at,
        submitted_by=entry.submitted_by,
        agents_wanted=entry.agents_wanted,
        labels=entry.labels,
        decision=entry.decision,
        reason=entry.reason,
        build=entry.build,
    )


def decode_run_entry(message: run_pb2.RunEntry) -> RunEntry:
    """Return what a controller knows of a run."""
    state = message.state if message.state in _RUN_STATES else "failed"
    return RunEntry(
        run_id=clean(message.run_id, 100),
        suite=clean(message.suite, 200),
        profile=clean(message.profile, 200),
        state=state,  # type: ignore[arg-type]
        submitted_at=clean(message.submitted_at, 40),
        submitted_by=clean(message.submitted_by, 100),
        agents_wanted=message.agents_wanted,
        labels={clean(k, 100): clean(v, 200) for k, v in sorted(message.labels.items())},
        decision=clean(message.decision, 20),
        reason=clean(message.reason, 2_000),
        build=clean(message.build, 200),
    )


def encode_fleet_entry(entry: FleetEntry) -> run_pb2.FleetEntry:
    """Return an agent as a message."""
    return run_pb2.FleetEntry(
        agent_id=entry.agent_id,
        host=entry.host,
        version=entry.version,
        python=entry.python,
        cores=entry.cores,
        workers=entry.workers,
        capacity_permille=entry.capacity_permille,
        labels=entry.labels,
        run_id=entry.run_id,
        clock_offset_us=entry.clock_offset_us,
        clock_uncertainty_us=entry.clock_uncertainty_us,
    )


def decode_fleet_entry(message: run_pb2.FleetEntry) -> FleetEntry:
    """Return an agent."""
    return FleetEntry(
        agent_id=clean(message.agent_id, 64),
        host=clean(message.host, 255),
        version=clean(message.version, 64),
        python=clean(message.python, 64),
        cores=message.cores,
        workers=message.workers,
        capacity_permille=message.capacity_permille,
        labels={clean(k, 100): clean(v, 200) for k, v in sorted(message.labels.items())},
        run_id=clean(message.run_id, 100),
        clock_offset_us=message.clock_offset_us,
        clock_uncertainty_us=message.clock_uncertainty_us,
    )


def encode_token_entry(entry: TokenEntry) -> run_pb2.TokenEntry:
    """Return a token without its secret as a message."""
    return run_pb2.TokenEntry(
        token_id=entry.token_id,
        role=entry.role,
        name=entry.name,
        created_at=entry.created_at.isoformat(),
        expires_at=entry.expires_at.isoformat() if entry.expires_at else "",
        agents_max=entry.agents_max,
    )


def decode_token_entry(message: run_pb2.TokenEntry) -> TokenEntry:
    """Return a token without its secret. Raises `ClientError`."""
    try:
        return TokenEntry(
            token_id=clean(message.token_id, 40),
            role=message.role,  # type: ignore[arg-type]
            name=clean(message.name, 100),
            created_at=datetime.fromisoformat(message.created_at).astimezone(UTC),
            expires_at=datetime.fromisoformat(message.expires_at).astimezone(UTC) if message.expires_at else None,
            agents_max=message.agents_max,
        )
    except ValueError as error:
        raise ClientError(
            "version", "the controller tells of its tokens in words this version does not know"
        ) from error
