"""Content-Encoding: gzip, deflate (both kinds), br and zstd, decoded when asked for and never past a limit."""

import zlib
from typing import Protocol

import brotli
import zstandard

from loadproof.http.errors import DecodeError

_LAYERS_MAX = 4  # encodings stacked in one header; more is an attack
_STEP = 65_536
_ZSTD_WINDOW = 1 << 23  # RFC 9659: senders of HTTP stay within 8 MB


def decode_body(raw: bytes, encodings: str, limit: int) -> bytes:
    """`raw` with the encodings of the header undone, last first. Raises DecodeError when broken or over `limit` bytes.

    An encoding that is not known leaves the body as it is, as browsers' `fetch` and aiohttp do.
    """
    names = [name.strip().lower() for name in encodings.split(",") if name.strip()]
    if len(names) > _LAYERS_MAX:
        raise DecodeError(f"body has {len(names)} layers of Content-Encoding; the limit is {_LAYERS_MAX}")
    for name in reversed(names):
        decoder = _DECODERS.get(name)
        if decoder is None:
            return raw
        if raw:
            raw = decoder(raw, limit)
    return raw


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _too_large(name: str, limit: int) -> DecodeError:
    return DecodeError(f"{name} body decodes to more than {limit} bytes")


def _inflate(raw: bytes, wbits: int, limit: int, name: str) -> bytes:
    parts: list[bytes] = []
    total = 0
    while raw:
        inflater: _Inflater = zlib.decompressobj(wbits=wbits)
        try:
            part = inflater.decompress(raw, limit - total + 1)
        except zlib.error as error:
            if parts and name == "gzip":  # junk after a complete member; gzip itself ignores it
                break
            raise DecodeError(f"{name} body is broken: {error}") from error
        total += len(part)
        if total > limit:
            raise _too_large(name, limit)
        if not inflater.eof:
            raise DecodeError(f"{name} body ends in the middle")
        parts.append(part)
        raw = inflater.unused_data if name == "gzip" else b""
    return b"".join(parts)


def _gzip(raw: bytes, limit: int) -> bytes:
    return _inflate(raw, 16 + zlib.MAX_WBITS, limit, "gzip")


def _deflate(raw: bytes, limit: int) -> bytes:
    zlib_wrapped = raw[0] & 0x0F == 8 and len(raw) > 1 and int.from_bytes(raw[:2], "big") % 31 == 0
    return _inflate(raw, zlib.MAX_WBITS if zlib_wrapped else -zlib.MAX_WBITS, limit, "deflate")


def _brotli(raw: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    parts: list[bytes] = []
    total = 0
    data = raw
    try:
        while True:
            part = decoder.process(data, output_buffer_limit=min(_STEP, limit - total + 1))
            data = b""
            total += len(part)
            if total > limit:
                raise _too_large("br", limit)
            parts.append(part)
            if decoder.is_finished():
                return b"".join(parts)
            if not part and decoder.can_accept_more_data():
                raise DecodeError("br body ends in the middle")
    except brotli.error as error:
        raise DecodeError(f"br body is broken: {error}") from error


def _zstd(raw: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    total = 0
    try:
        with zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
            raw, read_across_frames=True
        ) as reader:
            while part := reader.read(min(_STEP, limit - total + 1)):
                total += len(part)
                if total > limit:
                    raise _too_large("zstd", limit)
                parts.append(part)
        if zstandard.get_frame_parameters(raw).content_size != total:
            _check_zstd_end(raw)
    except zstandard.ZstdError as error:
        raise DecodeError(f"zstd body is broken: {error}") from error
    return b"".join(parts)


def _check_zstd_end(raw: bytes) -> None:
    """The bounded reader takes a cut frame for a whole one: look again, now that the size is known to be small."""
    while raw:
        frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        frame.decompress(raw)
        if not frame.eof:
            raise DecodeError("zstd body ends in the middle")
        raw = frame.unused_data


_DECODERS = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}
