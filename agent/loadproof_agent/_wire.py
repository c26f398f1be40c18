"""Between the agent's records and protobuf: pure, and the only module of the agent that imports the generated code.

Records carry the names of the messages they become, so encoding walks a record's fields; what the two sides do not
share is a programming error that the round-trip tests find.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any, cast

from google.protobuf.message import Message

from loadproof_agent import records
from loadproof_agent.errors import UplinkError
from loadproof_agent.records import FromAgent, FromController
from loadproof_proto.v1 import agent_pb2, enroll_pb2
from loadproof_proto.v1.agent_pb2_grpc import AgentServiceStub
from loadproof_proto.v1.enroll_pb2_grpc import EnrollServiceStub

if typing.TYPE_CHECKING:
    from loadproof_proto.v1.agent_pb2_grpc import AgentServiceAsyncStub

    AgentAsyncStub = AgentServiceAsyncStub

FROM_AGENT: dict[str, type[Any]] = {
    "hello": records.Hello,
    "heartbeat": records.Heartbeat,
    "prepare_result": records.PrepareResult,
    "setup_result": records.SetupResult,
    "teardown_result": records.TeardownResult,
    "snapshot": records.SnapshotBlock,
    "final": records.Final,
    "worker_event": records.WorkerEvent,
    "logs": records.LogBatch,
    "pong": records.Pong,
    "reserve": records.Reserve,
}
FROM_CONTROLLER: dict[str, type[Any]] = {
    "welcome": records.Welcome,
    "refusal": records.Refusal,
    "prepare": records.Prepare,
    "setup": records.Setup,
    "lease": records.Lease,
    "start": records.Start,
    "stop": records.Stop,
    "teardown": records.Teardown,
    "ack": records.SnapshotAck,
    "ping": records.Ping,
    "end": records.End,
    "reserved": records.Reserved,
}
_FROM_AGENT_NAMES = {record: name for name, record in FROM_AGENT.items()}
_FROM_CONTROLLER_NAMES = {record: name for name, record in FROM_CONTROLLER.items()}


def encode_from_agent(record: FromAgent) -> agent_pb2.AttachRequest:
    """Return the message that carries `record` to the controller."""
    request = agent_pb2.AttachRequest()
    _fill(getattr(request, _FROM_AGENT_NAMES[type(record)]), record)
    return request


def decode_from_agent(request: agent_pb2.AttachRequest) -> FromAgent:
    """Return the record in an agent's message (used by tests and simulations). Raises UplinkError on an empty one."""
    return cast("FromAgent", _unpack(request, FROM_AGENT))


def encode_from_controller(record: FromController) -> agent_pb2.AttachResponse:
    """Return the message that carries `record` to an agent (used by tests and simulations)."""
    response = agent_pb2.AttachResponse()
    _fill(getattr(response, _FROM_CONTROLLER_NAMES[type(record)]), record)
    return response


def decode_from_controller(response: agent_pb2.AttachResponse) -> FromController:
    """Return the record in a controller's message. Raises UplinkError on one this version does not know."""
    return cast("FromController", _unpack(response, FROM_CONTROLLER))


def stub(channel: Any) -> AgentAsyncStub:
    """Return the service's methods over an asyncio channel."""
    return cast("AgentAsyncStub", AgentServiceStub(channel))


def enroll_stub(channel: Any) -> Any:
    """Return the methods of EnrollService over an asyncio channel."""
    return EnrollServiceStub(channel)


def enroll_request(name: str, csr: bytes) -> enroll_pb2.EnrollRequest:
    """Return the wish to join."""
    return enroll_pb2.EnrollRequest(name=name, csr=csr)


def renew_request(csr: bytes) -> enroll_pb2.RenewRequest:
    """Return the wish to stay."""
    return enroll_pb2.RenewRequest(csr=csr)


def bundle_request(run_id: str, sha256: str) -> agent_pb2.FetchBundleRequest:
    """Return the question for a bundle."""
    return agent_pb2.FetchBundleRequest(run_id=run_id, sha256=sha256)


def _unpack(envelope: Message, known: dict[str, type[Any]]) -> object:
    which = envelope.WhichOneof("message")
    if which is None:
        raise UplinkError(
            "unknown_message", "the controller sent a message this agent does not know; use equal versions", retry=False
        )
    return _read(getattr(envelope, which), known[which])


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: str  # "scalar", "map", "scalars", "records", "optional", "record"
    record: type[Any] | None = None


@cache
def _fields(record: Any) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(record)
    return tuple(_classify(field.name, hints[field.name]) for field in dataclasses.fields(record))


def _classify(name: str, hint: Any) -> _Field:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is dict:
        return _Field(name, "map")
    if origin is tuple:
        inner = arguments[0]
        return (
            _Field(name, "records", cast("type[Any]", inner))
            if dataclasses.is_dataclass(inner)
            else _Field(name, "scalars")
        )
    if origin is types.UnionType:
        inner = arguments[0]
        return (
            _Field(name, "optional", inner) if dataclasses.is_dataclass(cast("Any", inner)) else _Field(name, "maybe")
        )
    return _Field(name, "scalar")


def _fill(message: Any, record: object) -> None:
    message.SetInParent()  # an empty message still says which one it is
    for field in _fields(cast("Any", type(record))):
        value = getattr(record, field.name)
        if field.kind == "scalar":
            setattr(message, field.name, value)
        elif field.kind == "map":
            getattr(message, field.name).update(value)
        elif field.kind == "scalars":
            getattr(message, field.name).extend(value)
        elif field.kind == "records":
            target = getattr(message, field.name)
            for item in cast("Iterable[object]", value):
                _fill(target.add(), item)
        elif field.kind == "maybe":
            if value is not None:
                setattr(message, field.name, value)
        elif value is not None:
            _fill(getattr(message, field.name), value)


def _read(message: Any, record: type[Any]) -> object:
    values: dict[str, Any] = {}
    for field in _fields(cast("Any", record)):
        value = getattr(message, field.name)
        if field.kind == "map":
            value = dict(value)
        elif field.kind == "scalars":
            value = tuple(value)
        elif field.kind == "records":
            value = tuple(_read(item, cast("type[Any]", field.record)) for item in value)
        elif field.kind == "optional":
            present = message.HasField(field.name)
            value = _read(value, cast("type[Any]", field.record)) if present else None
        elif field.kind == "maybe":
            value = value if message.HasField(field.name) else None
        values[field.name] = value
    return cast("object", record(**values))
