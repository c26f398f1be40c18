from loadproof_proto.v1 import agent_pb2 as _agent_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RelayRequest(_message.Message):
    __slots__ = ("hello", "said", "gone", "beats", "block")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SAID_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    BEATS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    hello: RelayHello
    said: ChildSaid
    gone: ChildGone
    beats: RelayBeats
    block: RelayBlock
    def __init__(self, hello: _Optional[_Union[RelayHello, _Mapping]] = ..., said: _Optional[_Union[ChildSaid, _Mapping]] = ..., gone: _Optional[_Union[ChildGone, _Mapping]] = ..., beats: _Optional[_Union[RelayBeats, _Mapping]] = ..., block: _Optional[_Union[RelayBlock, _Mapping]] = ...) -> None: ...

class RelayResponse(_message.Message):
    __slots__ = ("welcome", "refusal", "told", "closed", "renewals", "answer")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    RENEWALS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    welcome: RelayWelcome
    refusal: RelayRefusal
    told: ChildTold
    closed: ChildClosed
    renewals: Renewals
    answer: BlockAnswer
    def __init__(self, welcome: _Optional[_Union[RelayWelcome, _Mapping]] = ..., refusal: _Optional[_Union[RelayRefusal, _Mapping]] = ..., told: _Optional[_Union[ChildTold, _Mapping]] = ..., closed: _Optional[_Union[ChildClosed, _Mapping]] = ..., renewals: _Optional[_Union[Renewals, _Mapping]] = ..., answer: _Optional[_Union[BlockAnswer, _Mapping]] = ...) -> None: ...

class RelayHello(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "layout_id", "relay_id", "epoch", "version", "host", "identity")
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    RELAY_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    layout_id: str
    relay_id: str
    epoch: int
    version: str
    host: str
    identity: str
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., layout_id: _Optional[str] = ..., relay_id: _Optional[str] = ..., epoch: _Optional[int] = ..., version: _Optional[str] = ..., host: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class ChildSaid(_message.Message):
    __slots__ = ("agent_id", "epoch", "message", "token_id")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    message: bytes
    token_id: str
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., message: _Optional[bytes] = ..., token_id: _Optional[str] = ...) -> None: ...

class ChildGone(_message.Message):
    __slots__ = ("agent_id", "epoch")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class RelayBeats(_message.Message):
    __slots__ = ("beats",)
    BEATS_FIELD_NUMBER: _ClassVar[int]
    beats: _containers.RepeatedCompositeFieldContainer[ChildBeat]
    def __init__(self, beats: _Optional[_Iterable[_Union[ChildBeat, _Mapping]]] = ...) -> None: ...

class ChildBeat(_message.Message):
    __slots__ = ("agent_id", "epoch", "run_id", "monotonic_ns", "in_flight", "cpu_permille", "memory_bytes", "began_ns", "machine_cpu_permille", "unacked")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_NS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CPU_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    BEGAN_NS_FIELD_NUMBER: _ClassVar[int]
    MACHINE_CPU_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    UNACKED_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    run_id: str
    monotonic_ns: int
    in_flight: int
    cpu_permille: int
    memory_bytes: int
    began_ns: int
    machine_cpu_permille: int
    unacked: int
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., run_id: _Optional[str] = ..., monotonic_ns: _Optional[int] = ..., in_flight: _Optional[int] = ..., cpu_permille: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., began_ns: _Optional[int] = ..., machine_cpu_permille: _Optional[int] = ..., unacked: _Optional[int] = ...) -> None: ...

class RelayBlock(_message.Message):
    __slots__ = ("run_id", "number", "ranges", "delta")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    number: int
    ranges: _containers.RepeatedCompositeFieldContainer[RelayedRange]
    delta: bytes
    def __init__(self, run_id: _Optional[str] = ..., number: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[RelayedRange, _Mapping]]] = ..., delta: _Optional[bytes] = ...) -> None: ...

class RelayedRange(_message.Message):
    __slots__ = ("agent_id", "epoch", "from_seq", "to_seq", "n", "total", "checksum", "started")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    TO_SEQ_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int
    n: int
    total: int
    checksum: int
    started: int
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., from_seq: _Optional[int] = ..., to_seq: _Optional[int] = ..., n: _Optional[int] = ..., total: _Optional[int] = ..., checksum: _Optional[int] = ..., started: _Optional[int] = ...) -> None: ...

class RelayWelcome(_message.Message):
    __slots__ = ("protocol", "heartbeat_ms", "delta_version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    DELTA_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    heartbeat_ms: int
    delta_version: int
    def __init__(self, protocol: _Optional[int] = ..., heartbeat_ms: _Optional[int] = ..., delta_version: _Optional[int] = ...) -> None: ...

class RelayRefusal(_message.Message):
    __slots__ = ("code", "text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class ChildTold(_message.Message):
    __slots__ = ("agent_id", "epoch", "message")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    message: _agent_pb2.AttachResponse
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., message: _Optional[_Union[_agent_pb2.AttachResponse, _Mapping]] = ...) -> None: ...

class ChildClosed(_message.Message):
    __slots__ = ("agent_id", "epoch")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class Renewals(_message.Message):
    __slots__ = ("run_id", "duration_ms", "renewals")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    RENEWALS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    duration_ms: int
    renewals: _containers.RepeatedCompositeFieldContainer[Renewal]
    def __init__(self, run_id: _Optional[str] = ..., duration_ms: _Optional[int] = ..., renewals: _Optional[_Iterable[_Union[Renewal, _Mapping]]] = ...) -> None: ...

class Renewal(_message.Message):
    __slots__ = ("agent_id", "epoch", "fence", "echo_ns")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ECHO_NS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    fence: int
    echo_ns: int
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., fence: _Optional[int] = ..., echo_ns: _Optional[int] = ...) -> None: ...

class BlockAnswer(_message.Message):
    __slots__ = ("number", "verdict", "states")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    number: int
    verdict: str
    states: _containers.RepeatedCompositeFieldContainer[RangeState]
    def __init__(self, number: _Optional[int] = ..., verdict: _Optional[str] = ..., states: _Optional[_Iterable[_Union[RangeState, _Mapping]]] = ...) -> None: ...

class RangeState(_message.Message):
    __slots__ = ("agent_id", "epoch", "last_seq", "unwanted")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    UNWANTED_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    last_seq: int
    unwanted: bool
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., last_seq: _Optional[int] = ..., unwanted: _Optional[bool] = ...) -> None: ...
