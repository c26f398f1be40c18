from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrollRequest(_message.Message):
    __slots__ = ("name", "csr")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    name: str
    csr: bytes
    def __init__(self, name: _Optional[str] = ..., csr: _Optional[bytes] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("agent_id", "certificate", "agents_port", "lifetime_s", "identity")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    AGENTS_PORT_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    certificate: bytes
    agents_port: int
    lifetime_s: int
    identity: str
    def __init__(self, agent_id: _Optional[str] = ..., certificate: _Optional[bytes] = ..., agents_port: _Optional[int] = ..., lifetime_s: _Optional[int] = ..., identity: _Optional[str] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("certificate", "lifetime_s")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    lifetime_s: int
    def __init__(self, certificate: _Optional[bytes] = ..., lifetime_s: _Optional[int] = ...) -> None: ...
