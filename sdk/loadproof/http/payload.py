"""Request bodies: JSON, forms, raw bytes and small multipart uploads, with the Content-Type each of them has."""

import secrets
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import orjson

from loadproof.http.errors import InvalidRequest
from loadproof.http.urls import scalar_text

Form = Mapping[str, Any] | Iterable[tuple[str, Any]]
FileContent = bytes | str | tuple[str, bytes | str] | tuple[str, bytes | str, str]
Files = Mapping[str, FileContent] | Iterable[tuple[str, FileContent]]
_UPLOAD_BYTES_MAX = 16 << 20  # of one multipart body; larger uploads stream through `user.aiohttp`


class Payload(NamedTuple):
    """A body and its Content-Type ("" sends none)."""

    body: bytes
    content_type: str


def build_payload(json: Any, data: Any, files: Files | None) -> Payload | None:
    """The body of one request, None for none. Raises InvalidRequest when the options contradict each other."""
    if json is not None:
        if data is not None or files is not None:
            raise InvalidRequest("json= can't be combined with data= or files=")
        try:
            return Payload(orjson.dumps(json), "application/json")
        except TypeError as error:
            raise InvalidRequest(f"json= can't be encoded: {error}") from error
    if files is not None:
        return multipart(data, files)
    if data is None:
        return None
    if isinstance(data, (bytes, bytearray, memoryview)):
        return Payload(bytes(data), "application/octet-stream")
    if isinstance(data, str):
        return Payload(data.encode(), "text/plain; charset=utf-8")
    return Payload(_urlencode(data).encode("ascii"), "application/x-www-form-urlencoded")


def _pairs(form: Form | None) -> Iterable[tuple[str, Any]]:
    if form is None:
        return ()
    return form.items() if isinstance(form, Mapping) else form


def _fields(form: Form | None) -> Iterable[tuple[str, str]]:
    """Text fields; a list repeats its key, None is left out."""
    try:
        for key, value in _pairs(form):
            if isinstance(value, (list, tuple)):
                for item in value:
                    yield str(key), scalar_text(item)
            elif value is not None:
                yield str(key), scalar_text(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"data= must be bytes, text, a mapping or pairs: {error}") from error


def _urlencode(form: Form) -> str:
    return "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in _fields(form))


def _quoted(text: str) -> str:
    """A name inside a Content-Disposition, escaped as browsers do (HTML standard, multipart/form-data encoding)."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def multipart(form: Form | None, files: Files) -> Payload:
    """`multipart/form-data` of fields and files. A file is its content, (name, content) or (name, content, type)."""
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for key, value in _fields(form):
        parts.append(_part(boundary, f'name="{_quoted(key)}"', "", value.encode()))
    for key, item in files.items() if isinstance(files, Mapping) else files:
        filename, content, content_type = _file(key, item)
        if any(char in content_type for char in "\r\n"):
            raise InvalidRequest(f"content type {content_type!r} of file {filename!r} has a line break")
        disposition = f'name="{_quoted(key)}"; filename="{_quoted(filename)}"'
        parts.append(_part(boundary, disposition, content_type, content))
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    if len(body) > _UPLOAD_BYTES_MAX:
        raise InvalidRequest(f"upload of {len(body)} bytes is over {_UPLOAD_BYTES_MAX}; stream it with user.aiohttp")
    return Payload(body, f"multipart/form-data; boundary={boundary}")


def _file(key: str, item: FileContent) -> tuple[str, bytes, str]:
    filename, content, content_type = key, item, "application/octet-stream"
    if isinstance(item, tuple):
        filename, content = PurePath(item[0]).name, item[1]
        if len(item) == 3:
            content_type = item[2]
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes):
        raise InvalidRequest(
            f"file {key!r} must be bytes or text, not {type(content).__name__}; read it before the load"
        )
    return filename, content, content_type


def _part(boundary: str, disposition: str, content_type: str, content: bytes) -> bytes:
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n"
    return head.encode() + content + b"\r\n"
