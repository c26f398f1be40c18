"""Frames of the pipe between a supervisor and its workers: 4 bytes of length, big endian, then a msgpack array.

The array is `[kind, field, ...]` in the order of the record's fields (`messages`); records inside records are arrays
without a kind. The peer is our own process, but it runs user code, so a frame is bounded and checked before it is
believed.
"""

from __future__ import annotations

import dataclasses
import struct
import types
import typing
from collections.abc import Callable
from typing import Any

import msgpack

from loadproof_agent.pipe import messages
from loadproof_agent.pipe.messages import FromWorker, ToWorker

FRAME_BYTES_MAX = 16 * 1024 * 1024
"""The largest frame either side sends or accepts."""

Message = ToWorker | FromWorker

_LENGTH = struct.Struct(">I")
_KINDS: tuple[type[Any], ...] = (*typing.get_args(ToWorker), *typing.get_args(FromWorker))
_NUMBER_OF = {kind: number for number, kind in enumerate(_KINDS)}


class PipeError(Exception):
    """What came over the pipe is not a message of ours: too long, not msgpack, unknown kind or wrong fields."""


class PipeCutError(PipeError):
    """The peer ended in the middle of a message."""


def encode(message: Message) -> bytes:
    """Return `message` as one frame. Raises PipeError when it is longer than `FRAME_BYTES_MAX`."""
    kind = type(message)
    fields = [getattr(message, field.name) for field in dataclasses.fields(kind)]
    body = msgpack.packb([_NUMBER_OF[kind], *fields], default=_plain)
    if len(body) > FRAME_BYTES_MAX:
        raise PipeError(f"{kind.__name__} of {len(body)} bytes is over the limit of {FRAME_BYTES_MAX}")
    return bytes(_LENGTH.pack(len(body)) + body)


class Decoder:
    """Turns a stream of bytes into messages. Keeps at most one unfinished frame of `limit` bytes."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Message]:
        """Add `data` and return the messages that are complete now. Raises PipeError on anything unexpected."""
        buffer = self._buffer
        buffer += data
        found: list[Message] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(buffer, start)
            if size > self._limit:
                raise PipeError(f"a frame of {size} bytes is over the limit of {self._limit}")
            end = start + _LENGTH.size + size
            if len(buffer) < end:
                break
            found.append(_decode(bytes(buffer[start + _LENGTH.size : end])))
            start = end
        del buffer[:start]
        return found

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete: above 0 at the stream's end means that it was cut."""
        return len(self._buffer)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    raise PipeError(f"{type(value).__name__} cannot travel over the pipe")


def _decode(body: bytes) -> Message:
    try:
        values = msgpack.unpackb(body, strict_map_key=False)
    except Exception as error:  # msgpack raises several unrelated types on hostile bytes
        raise PipeError(f"a frame is not msgpack: {error}") from error
    if not isinstance(values, list) or not values or type(values[0]) is not int or not 0 <= values[0] < len(_KINDS):
        raise PipeError("a frame is not a message of this version")
    return typing.cast("Message", _build(_KINDS[values[0]], values[1:]))


def _build(kind: type[Any], values: list[Any]) -> object:
    readers = _READERS[kind]
    if len(values) != len(readers):
        raise PipeError(f"{kind.__name__} has {len(readers)} fields, {len(values)} came")
    try:
        return kind(*(reader(value) for reader, value in zip(readers, values, strict=True)))
    except (TypeError, ValueError) as error:
        raise PipeError(f"{kind.__name__} is malformed: {error}") from error


def _reader(annotation: Any) -> Callable[[Any], Any]:
    """Return a function that checks a decoded value against `annotation` and restores tuples and records."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType}:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    if origin is tuple and arguments[-1] is Ellipsis:
        item = _reader(arguments[0])
        return lambda value: tuple(item(part) for part in _checked(value, list))
    if origin is tuple:
        parts = [_reader(argument) for argument in arguments]
        return lambda value: tuple(read(part) for read, part in zip(parts, _checked(value, list), strict=True))
    if dataclasses.is_dataclass(annotation):
        record = typing.cast("type[Any]", annotation)
        return lambda value: _build(record, _checked(value, list))
    plain = origin or annotation
    return lambda value: _checked(value, plain)


def _checked(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, {type(value).__name__} came")
    return value


def _readers_of(kind: type[Any]) -> list[Callable[[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [_reader(hints[field.name]) for field in dataclasses.fields(kind)]


_READERS: dict[type[Any], list[Callable[[Any], Any]]] = {
    kind: _readers_of(kind) for kind in (*_KINDS, messages.Problem)
}
