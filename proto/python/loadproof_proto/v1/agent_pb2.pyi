from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttachRequest(_message.Message):
    __slots__ = ("hello", "heartbeat", "prepare_result", "setup_result", "teardown_result", "snapshot", "final", "worker_event", "logs", "pong", "reserve")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PREPARE_RESULT_FIELD_NUMBER: _ClassVar[int]
    SETUP_RESULT_FIELD_NUMBER: _ClassVar[int]
    TEARDOWN_RESULT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    WORKER_EVENT_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    prepare_result: PrepareResult
    setup_result: SetupResult
    teardown_result: TeardownResult
    snapshot: SnapshotBlock
    final: Final
    worker_event: WorkerEvent
    logs: LogBatch
    pong: Pong
    reserve: Reserve
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., prepare_result: _Optional[_Union[PrepareResult, _Mapping]] = ..., setup_result: _Optional[_Union[SetupResult, _Mapping]] = ..., teardown_result: _Optional[_Union[TeardownResult, _Mapping]] = ..., snapshot: _Optional[_Union[SnapshotBlock, _Mapping]] = ..., final: _Optional[_Union[Final, _Mapping]] = ..., worker_event: _Optional[_Union[WorkerEvent, _Mapping]] = ..., logs: _Optional[_Union[LogBatch, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., reserve: _Optional[_Union[Reserve, _Mapping]] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("welcome", "refusal", "prepare", "setup", "lease", "start", "stop", "teardown", "ack", "ping", "end", "reserved")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    SETUP_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    TEARDOWN_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    refusal: Refusal
    prepare: Prepare
    setup: Setup
    lease: Lease
    start: Start
    stop: Stop
    teardown: Teardown
    ack: SnapshotAck
    ping: Ping
    end: End
    reserved: Reserved
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., prepare: _Optional[_Union[Prepare, _Mapping]] = ..., setup: _Optional[_Union[Setup, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., start: _Optional[_Union[Start, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., teardown: _Optional[_Union[Teardown, _Mapping]] = ..., ack: _Optional[_Union[SnapshotAck, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., reserved: _Optional[_Union[Reserved, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "layout_id", "agent_id", "epoch", "version", "python", "host", "pid", "cores", "workers", "labels", "identity", "capacity_permille", "run_id")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    layout_id: str
    agent_id: str
    epoch: int
    version: str
    python: str
    host: str
    pid: int
    cores: int
    workers: int
    labels: _containers.ScalarMap[str, str]
    identity: str
    capacity_permille: int
    run_id: str
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., layout_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., version: _Optional[str] = ..., python: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., cores: _Optional[int] = ..., workers: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., identity: _Optional[str] = ..., capacity_permille: _Optional[int] = ..., run_id: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "agent_id", "heartbeat_ms", "orphan_grace_ms")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    ORPHAN_GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    agent_id: str
    heartbeat_ms: int
    orphan_grace_ms: int
    def __init__(self, protocol: _Optional[int] = ..., agent_id: _Optional[str] = ..., heartbeat_ms: _Optional[int] = ..., orphan_grace_ms: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Prepare(_message.Message):
    __slots__ = ("run_id", "plan", "spec", "bundle_sha256", "bundle_bytes", "shard_count", "snapshot_ms", "secrets", "heartbeat_ms", "delta_version")
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_MS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    DELTA_VERSION_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    plan: bytes
    spec: bytes
    bundle_sha256: str
    bundle_bytes: int
    shard_count: int
    snapshot_ms: int
    secrets: _containers.ScalarMap[str, str]
    heartbeat_ms: int
    delta_version: int
    def __init__(self, run_id: _Optional[str] = ..., plan: _Optional[bytes] = ..., spec: _Optional[bytes] = ..., bundle_sha256: _Optional[str] = ..., bundle_bytes: _Optional[int] = ..., shard_count: _Optional[int] = ..., snapshot_ms: _Optional[int] = ..., secrets: _Optional[_Mapping[str, str]] = ..., heartbeat_ms: _Optional[int] = ..., delta_version: _Optional[int] = ...) -> None: ...

class PrepareResult(_message.Message):
    __slots__ = ("run_id", "problems")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, run_id: _Optional[str] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("code", "text", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    detail: str
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Setup(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class SetupResult(_message.Message):
    __slots__ = ("run_id", "shared", "problem")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    shared: bytes
    problem: Problem
    def __init__(self, run_id: _Optional[str] = ..., shared: _Optional[bytes] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("run_id", "fence", "shards", "duration_ms", "echo_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    ECHO_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    fence: int
    shards: _containers.RepeatedCompositeFieldContainer[ShardGrant]
    duration_ms: int
    echo_ns: int
    def __init__(self, run_id: _Optional[str] = ..., fence: _Optional[int] = ..., shards: _Optional[_Iterable[_Union[ShardGrant, _Mapping]]] = ..., duration_ms: _Optional[int] = ..., echo_ns: _Optional[int] = ...) -> None: ...

class ShardGrant(_message.Message):
    __slots__ = ("shard", "first_k", "draws")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    FIRST_K_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    shard: int
    first_k: int
    draws: _containers.RepeatedCompositeFieldContainer[UserDraws]
    def __init__(self, shard: _Optional[int] = ..., first_k: _Optional[int] = ..., draws: _Optional[_Iterable[_Union[UserDraws, _Mapping]]] = ...) -> None: ...

class UserDraws(_message.Message):
    __slots__ = ("user", "dataset", "draws")
    USER_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    user: int
    dataset: int
    draws: int
    def __init__(self, user: _Optional[int] = ..., dataset: _Optional[int] = ..., draws: _Optional[int] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("run_id", "start_at_ns", "shared")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    START_AT_NS_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    start_at_ns: int
    shared: bytes
    def __init__(self, run_id: _Optional[str] = ..., start_at_ns: _Optional[int] = ..., shared: _Optional[bytes] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("run_id", "at_offset_ns", "immediate", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AT_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    IMMEDIATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    at_offset_ns: int
    immediate: bool
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., at_offset_ns: _Optional[int] = ..., immediate: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class Teardown(_message.Message):
    __slots__ = ("run_id", "shared")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    shared: bytes
    def __init__(self, run_id: _Optional[str] = ..., shared: _Optional[bytes] = ...) -> None: ...

class TeardownResult(_message.Message):
    __slots__ = ("run_id", "problem")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    problem: Problem
    def __init__(self, run_id: _Optional[str] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class SnapshotBlock(_message.Message):
    __slots__ = ("run_id", "ranges", "delta")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    ranges: _containers.RepeatedCompositeFieldContainer[SnapshotRange]
    delta: bytes
    def __init__(self, run_id: _Optional[str] = ..., ranges: _Optional[_Iterable[_Union[SnapshotRange, _Mapping]]] = ..., delta: _Optional[bytes] = ...) -> None: ...

class SnapshotRange(_message.Message):
    __slots__ = ("agent_id", "epoch", "from_seq", "to_seq")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    TO_SEQ_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., from_seq: _Optional[int] = ..., to_seq: _Optional[int] = ...) -> None: ...

class SnapshotAck(_message.Message):
    __slots__ = ("run_id", "agent_id", "epoch", "seq")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    agent_id: str
    epoch: int
    seq: int
    def __init__(self, run_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class Final(_message.Message):
    __slots__ = ("run_id", "epoch", "last_seq", "shards", "totals", "lost")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    last_seq: int
    shards: _containers.RepeatedCompositeFieldContainer[ShardFinal]
    totals: bytes
    lost: int
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., last_seq: _Optional[int] = ..., shards: _Optional[_Iterable[_Union[ShardFinal, _Mapping]]] = ..., totals: _Optional[bytes] = ..., lost: _Optional[int] = ...) -> None: ...

class ShardFinal(_message.Message):
    __slots__ = ("shard", "fence", "first_k", "accounted")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_K_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTED_FIELD_NUMBER: _ClassVar[int]
    shard: int
    fence: int
    first_k: int
    accounted: int
    def __init__(self, shard: _Optional[int] = ..., fence: _Optional[int] = ..., first_k: _Optional[int] = ..., accounted: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("run_id", "monotonic_ns", "workers", "unacked", "machine_cpu_permille")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_NS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    UNACKED_FIELD_NUMBER: _ClassVar[int]
    MACHINE_CPU_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    monotonic_ns: int
    workers: _containers.RepeatedCompositeFieldContainer[WorkerReading]
    unacked: int
    machine_cpu_permille: int
    def __init__(self, run_id: _Optional[str] = ..., monotonic_ns: _Optional[int] = ..., workers: _Optional[_Iterable[_Union[WorkerReading, _Mapping]]] = ..., unacked: _Optional[int] = ..., machine_cpu_permille: _Optional[int] = ...) -> None: ...

class WorkerReading(_message.Message):
    __slots__ = ("index", "pid", "silent_ms", "in_flight", "cpu_permille", "memory_bytes", "began_ns")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SILENT_MS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CPU_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    BEGAN_NS_FIELD_NUMBER: _ClassVar[int]
    index: int
    pid: int
    silent_ms: int
    in_flight: int
    cpu_permille: int
    memory_bytes: int
    began_ns: int
    def __init__(self, index: _Optional[int] = ..., pid: _Optional[int] = ..., silent_ms: _Optional[int] = ..., in_flight: _Optional[int] = ..., cpu_permille: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., began_ns: _Optional[int] = ...) -> None: ...

class WorkerEvent(_message.Message):
    __slots__ = ("run_id", "worker", "kind", "text", "transaction", "step", "at_offset_ns", "number")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    AT_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    worker: int
    kind: str
    text: str
    transaction: str
    step: str
    at_offset_ns: int
    number: int
    def __init__(self, run_id: _Optional[str] = ..., worker: _Optional[int] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., transaction: _Optional[str] = ..., step: _Optional[str] = ..., at_offset_ns: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class LogBatch(_message.Message):
    __slots__ = ("run_id", "lines")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("id", "sent_ns")
    ID_FIELD_NUMBER: _ClassVar[int]
    SENT_NS_FIELD_NUMBER: _ClassVar[int]
    id: int
    sent_ns: int
    def __init__(self, id: _Optional[int] = ..., sent_ns: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("id", "sent_ns", "received_ns", "answered_ns")
    ID_FIELD_NUMBER: _ClassVar[int]
    SENT_NS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_NS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_NS_FIELD_NUMBER: _ClassVar[int]
    id: int
    sent_ns: int
    received_ns: int
    answered_ns: int
    def __init__(self, id: _Optional[int] = ..., sent_ns: _Optional[int] = ..., received_ns: _Optional[int] = ..., answered_ns: _Optional[int] = ...) -> None: ...

class Reserve(_message.Message):
    __slots__ = ("run_id", "id", "draws")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    id: int
    draws: _containers.RepeatedCompositeFieldContainer[UserDraws]
    def __init__(self, run_id: _Optional[str] = ..., id: _Optional[int] = ..., draws: _Optional[_Iterable[_Union[UserDraws, _Mapping]]] = ...) -> None: ...

class Reserved(_message.Message):
    __slots__ = ("run_id", "id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    id: int
    def __init__(self, run_id: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class FetchBundleRequest(_message.Message):
    __slots__ = ("run_id", "sha256")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    sha256: str
    def __init__(self, run_id: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class FetchBundleResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...
