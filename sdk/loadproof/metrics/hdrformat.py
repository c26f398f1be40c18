"""HdrHistogram's V2 encoding, so that its tools read our numbers: ZigZag LEB128 counts, zlib, base64.

Format as documented by the HdrHistogram project (V2 cookies 0x1c849313 and 0x1c849314): a 40-byte header, then for
each counter from 0 a signed variable-length integer, a negative one standing for a run of empty counters.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.counts import Counts
from loadproof.histogram.layout import MAX_US

_COOKIE: Final = 0x1C849313
_COOKIE_COMPRESSED: Final = 0x1C849314
_HEADER: Final = ">IIIIQQd"
_DIGITS: Final = 3
_GROUPS_MAX: Final = 9


def encode_v2(counts: Counts) -> str:
    """Return the base64 text of the compressed V2 encoding, in the layout (lowest 1, highest 24 h in µs, 3 digits)."""
    payload = _leb128(_with_zero_runs(counts))
    header = struct.pack(_HEADER, _COOKIE, len(payload), 0, _DIGITS, 1, MAX_US, 1.0)
    packed = zlib.compress(header + payload, 6)
    return base64.b64encode(struct.pack(">II", _COOKIE_COMPRESSED, len(packed)) + packed).decode("ascii")


def _with_zero_runs(counts: Counts) -> NDArray[np.int64]:
    """Return alternating minus the number of empty counters skipped (left out where 0) and the count that follows."""
    indices = counts.indices.astype(np.int64)
    gaps = np.diff(indices, prepend=-1) - 1
    values = np.empty(2 * len(indices), np.int64)
    values[0::2] = -gaps
    values[1::2] = counts.counts.view(np.int64)
    keep = np.ones(len(values), bool)
    keep[0::2] = gaps > 0
    return values[keep]


def _leb128(values: NDArray[np.int64]) -> bytes:
    """Return ZigZag LEB128 of int64 values; a ninth byte holds eight bits, as the format has it."""
    zigzag = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    lengths = np.ones(len(zigzag), np.int64)
    for group in range(1, _GROUPS_MAX):
        lengths += (zigzag >> np.uint64(7 * group)) != 0
    starts = np.cumsum(lengths) - lengths
    out = np.zeros(int(lengths.sum()), np.uint8)
    for group in range(int(lengths.max(initial=0))):
        present = lengths > group
        bits = zigzag[present] >> np.uint64(7 * group)
        if group < _GROUPS_MAX - 1:
            more = np.where(lengths[present] > group + 1, np.uint64(0x80), np.uint64(0))
            bits = (bits & np.uint64(0x7F)) | more
        out[starts[present] + group] = (bits & np.uint64(0xFF)).astype(np.uint8)
    return out.tobytes()
