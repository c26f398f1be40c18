from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitRequest(_message.Message):
    __slots__ = ("submission", "bundle_chunk", "baseline_chunk")
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_CHUNK_FIELD_NUMBER: _ClassVar[int]
    BASELINE_CHUNK_FIELD_NUMBER: _ClassVar[int]
    submission: bytes
    bundle_chunk: bytes
    baseline_chunk: BaselineChunk
    def __init__(self, submission: _Optional[bytes] = ..., bundle_chunk: _Optional[bytes] = ..., baseline_chunk: _Optional[_Union[BaselineChunk, _Mapping]] = ...) -> None: ...

class BaselineChunk(_message.Message):
    __slots__ = ("index", "data", "file")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    index: int
    data: bytes
    file: str
    def __init__(self, index: _Optional[int] = ..., data: _Optional[bytes] = ..., file: _Optional[str] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("run_id", "ahead")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    ahead: int
    def __init__(self, run_id: _Optional[str] = ..., ahead: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("queued", "progress", "file", "ended")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    queued: Queued
    progress: bytes
    file: FileChunk
    ended: RunEnded
    def __init__(self, queued: _Optional[_Union[Queued, _Mapping]] = ..., progress: _Optional[bytes] = ..., file: _Optional[_Union[FileChunk, _Mapping]] = ..., ended: _Optional[_Union[RunEnded, _Mapping]] = ...) -> None: ...

class Queued(_message.Message):
    __slots__ = ("ahead",)
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    ahead: int
    def __init__(self, ahead: _Optional[int] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("name", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    data: bytes
    def __init__(self, name: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class RunEnded(_message.Message):
    __slots__ = ("status", "aborted_by", "reason", "loaded", "problems")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ABORTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    status: str
    aborted_by: str
    reason: str
    loaded: bool
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[str] = ..., aborted_by: _Optional[str] = ..., reason: _Optional[str] = ..., loaded: _Optional[bool] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class StopRunRequest(_message.Message):
    __slots__ = ("run_id", "immediate")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    IMMEDIATE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    immediate: bool
    def __init__(self, run_id: _Optional[str] = ..., immediate: _Optional[bool] = ...) -> None: ...

class StopRunResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunEntry]
    def __init__(self, runs: _Optional[_Iterable[_Union[RunEntry, _Mapping]]] = ...) -> None: ...

class RunEntry(_message.Message):
    __slots__ = ("run_id", "suite", "profile", "state", "submitted_at", "submitted_by", "agents_wanted", "labels", "decision", "reason", "build")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_FIELD_NUMBER: _ClassVar[int]
    AGENTS_WANTED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    suite: str
    profile: str
    state: str
    submitted_at: str
    submitted_by: str
    agents_wanted: int
    labels: _containers.ScalarMap[str, str]
    decision: str
    reason: str
    build: str
    def __init__(self, run_id: _Optional[str] = ..., suite: _Optional[str] = ..., profile: _Optional[str] = ..., state: _Optional[str] = ..., submitted_at: _Optional[str] = ..., submitted_by: _Optional[str] = ..., agents_wanted: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., decision: _Optional[str] = ..., reason: _Optional[str] = ..., build: _Optional[str] = ...) -> None: ...

class ListFleetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListFleetResponse(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[FleetEntry]
    def __init__(self, agents: _Optional[_Iterable[_Union[FleetEntry, _Mapping]]] = ...) -> None: ...

class FleetEntry(_message.Message):
    __slots__ = ("agent_id", "host", "version", "python", "cores", "workers", "capacity_permille", "labels", "run_id", "clock_offset_us", "clock_uncertainty_us")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    CLOCK_UNCERTAINTY_US_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    host: str
    version: str
    python: str
    cores: int
    workers: int
    capacity_permille: int
    labels: _containers.ScalarMap[str, str]
    run_id: str
    clock_offset_us: int
    clock_uncertainty_us: int
    def __init__(self, agent_id: _Optional[str] = ..., host: _Optional[str] = ..., version: _Optional[str] = ..., python: _Optional[str] = ..., cores: _Optional[int] = ..., workers: _Optional[int] = ..., capacity_permille: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., run_id: _Optional[str] = ..., clock_offset_us: _Optional[int] = ..., clock_uncertainty_us: _Optional[int] = ...) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("role", "name", "ttl_s", "agents_max")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    AGENTS_MAX_FIELD_NUMBER: _ClassVar[int]
    role: str
    name: str
    ttl_s: int
    agents_max: int
    def __init__(self, role: _Optional[str] = ..., name: _Optional[str] = ..., ttl_s: _Optional[int] = ..., agents_max: _Optional[int] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "entry")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    token: str
    entry: TokenEntry
    def __init__(self, token: _Optional[str] = ..., entry: _Optional[_Union[TokenEntry, _Mapping]] = ...) -> None: ...

class TokenEntry(_message.Message):
    __slots__ = ("token_id", "role", "name", "created_at", "expires_at", "agents_max")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    AGENTS_MAX_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    role: str
    name: str
    created_at: str
    expires_at: str
    agents_max: int
    def __init__(self, token_id: _Optional[str] = ..., role: _Optional[str] = ..., name: _Optional[str] = ..., created_at: _Optional[str] = ..., expires_at: _Optional[str] = ..., agents_max: _Optional[int] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[TokenEntry]
    def __init__(self, tokens: _Optional[_Iterable[_Union[TokenEntry, _Mapping]]] = ...) -> None: ...

class RevokeTokenRequest(_message.Message):
    __slots__ = ("token_id",)
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    def __init__(self, token_id: _Optional[str] = ...) -> None: ...

class RevokeTokenResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
