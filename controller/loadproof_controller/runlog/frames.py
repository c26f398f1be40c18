"""Frames: how records lie in a file."""

from __future__ import annotations

import errno
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

FRAME = struct.Struct(">II")
PAYLOAD_BYTES_MAX = 16 * 1024 * 1024


def frame(payload: bytes) -> bytes:
    """Return `payload` with its length and CRC-32 in front. Raises OSError when it is over 16 MiB."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise OSError(errno.EFBIG, f"a record of {len(payload)} bytes is over the limit of {PAYLOAD_BYTES_MAX}")
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def payloads(path: Path, *, bytes_max: int | None = None) -> Iterator[bytes]:
    """Yield what lies in the whole frames of a file, up to the first that is cut short, damaged or beyond `bytes_max`.

    Raises OSError.
    """
    used = 0
    with path.open("rb") as file:
        while len(head := file.read(FRAME.size)) == FRAME.size:
            length, crc = FRAME.unpack(head)
            used += FRAME.size + length
            if length > PAYLOAD_BYTES_MAX or (bytes_max is not None and used > bytes_max):
                return
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload) != crc:
                return
            yield payload


def whole_bytes(path: Path) -> int:
    """Return how many bytes of a file are whole frames. Raises OSError."""
    return sum(FRAME.size + len(payload) for payload in payloads(path))
