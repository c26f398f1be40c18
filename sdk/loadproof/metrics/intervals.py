"""`intervals.bin`: the histograms of every interval of a run, for windows, heat maps, comparison and bootstrap.

The format is described in docs/reference/intervals.md: a magic, then frames of (length, CRC-32, msgpack). Reading
streams one interval at a time and refuses damage with `IntervalsError`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args

import msgpack
import numpy as np

from loadproof.histogram.counts import Counts
from loadproof.histogram.layout import LAYOUT_ID
from loadproof.metrics import columns
from loadproof.metrics.cells import INTERVALS_MAX
from loadproof.metrics.delta import Measure, Outcome
from loadproof.metrics.errors import CodecError, IntervalsError
from loadproof.metrics.state import IntervalKey, MergedState
from loadproof.metrics.text import clean_name

MAGIC: Final = b"LPINTV\x01\n"
_FRAME: Final = struct.Struct("<II")
_FRAME_MAX: Final = 64 * 1024 * 1024
_SERIES_MAX: Final = 60_000
_STRING_MAX: Final = 4_000


@dataclass(frozen=True, slots=True)
class IntervalsFile:
    """What `intervals.bin` holds: {series: {first whole second of the interval: counts}}, intervals `width_s` long."""

    width_s: int
    series: dict[IntervalKey, dict[int, Counts]] = field(default_factory=dict)


def write_intervals(path: Path, merged: MergedState) -> None:
    """Write the interval histograms of `merged`, to a temporary name first, then renamed."""
    write_series(path, merged.intervals, merged.intervals_width_s)


def write_series(path: Path, series: dict[IntervalKey, dict[int, Counts]], width_s: int) -> None:
    """Write interval histograms given as {series: {second: counts}}."""
    names = sorted(series)
    rows: dict[int, list[int]] = {}
    for number, name in enumerate(names):
        for second in series[name]:
            rows.setdefault(second, []).append(number)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as out:
        out.write(MAGIC)
        _write_frame(out, [LAYOUT_ID, width_s, [list(name) for name in names]])
        for second in sorted(rows):
            present = rows[second]
            parts = columns.pack([series[names[number]][second] for number in present])
            _write_frame(out, [second, np.array(present, "<u4").tobytes(), *parts])
        _write_frame(out, ["end", len(rows)])
    temporary.replace(path)


def _write_frame(out: BinaryIO, content: list[Any]) -> None:
    payload: bytes = msgpack.packb(content)
    out.write(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)


def read_intervals(path: Path) -> IntervalsFile:
    """Read a whole file. Raises `IntervalsError` when it is damaged or of another version, else OSError."""
    with path.open("rb") as source:
        return read_intervals_from(source)


def read_intervals_from(source: BinaryIO) -> IntervalsFile:
    """Read a whole file from a stream at its start. Raises as `read_intervals`."""
    width_s, names = _read_head(source)
    out = IntervalsFile(width_s, {name: {} for name in names})
    for second, row in _rows(source, names):
        for name, counts in row.items():
            out.series[name][second] = counts
    return out


def iter_intervals(path: Path) -> Iterator[tuple[int, dict[IntervalKey, Counts]]]:
    """Yield (first whole second, {series: counts}) in time order, one in memory. Raises as `read_intervals`."""
    with path.open("rb") as source:
        _, names = _read_head(source)
        yield from _rows(source, names)


def _read_head(source: BinaryIO) -> tuple[int, list[IntervalKey]]:
    if source.read(len(MAGIC)) != MAGIC:
        raise IntervalsError("not a file of interval histograms, or of another version of the format")
    head = _read_frame(source)
    try:
        layout, width_s, rows = head
        names = [_name(row) for row in rows]
    except (ValueError, TypeError) as error:
        raise IntervalsError(f"the head of the file is malformed: {error}") from None
    if layout != LAYOUT_ID:
        raise IntervalsError(f"histogram layout {layout!r:.40}, not {LAYOUT_ID}")
    if type(width_s) is not int or not 0 < width_s < 1 << 31:
        raise IntervalsError("the length of an interval is malformed")
    return width_s, names


def _name(row: Any) -> IntervalKey:
    transaction, step, phase, outcome, measure = row
    if outcome not in get_args(Outcome) or measure not in get_args(Measure):
        raise ValueError("unknown outcome or measure")
    if not all(isinstance(text, str) for text in (transaction, step, phase)):
        raise ValueError("a name is no text")
    return IntervalKey(clean_name(transaction), clean_name(step), clean_name(phase), outcome, measure)


def _rows(source: BinaryIO, names: list[IntervalKey]) -> Iterator[tuple[int, dict[IntervalKey, Counts]]]:
    seen = 0
    last = -1
    while True:
        frame = _read_frame(source)
        if len(frame) == 2 and frame[0] == "end":
            if frame[1] != seen or source.read(1):
                raise IntervalsError("the file's end does not match its content")
            return
        try:
            second, numbers, *parts = frame
            present = np.frombuffer(numbers, "<u4").tolist()
            counts = columns.unpack(parts, _SERIES_MAX).parts()
            row = {names[number]: part for number, part in zip(present, counts, strict=True)}
        except (CodecError, ValueError, TypeError, IndexError) as error:
            raise IntervalsError(f"an interval is malformed: {error}") from None
        seen += 1
        if type(second) is not int or second <= last or seen > INTERVALS_MAX:
            raise IntervalsError("intervals are not in time order, or too many")
        last = second
        yield second, row


def _read_frame(source: BinaryIO) -> list[Any]:
    head = source.read(_FRAME.size)
    if len(head) < _FRAME.size:
        raise IntervalsError("the file is cut short")
    length, expected = _FRAME.unpack(head)
    if length > _FRAME_MAX:
        raise IntervalsError(f"a frame of {length} bytes is more than {_FRAME_MAX}")
    payload = source.read(length)
    if len(payload) != length:
        raise IntervalsError("the file is cut short")
    if zlib.crc32(payload) != expected:
        raise IntervalsError("a checksum does not match: the file is damaged")
    try:
        content = msgpack.unpackb(
            payload, max_ext_len=0, max_map_len=0, max_array_len=_SERIES_MAX, max_str_len=_STRING_MAX
        )
    except Exception as error:
        raise IntervalsError(f"a frame can't be read: {error!r:.100}") from None
    if not isinstance(content, list) or len(content) < 2:
        raise IntervalsError("a frame holds no list")
    return content
