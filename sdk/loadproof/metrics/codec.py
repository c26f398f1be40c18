"""A delta as bytes: compact columnar msgpack, and a decoder that no bytes can crash or grow.

    delta   = [ version, layout id, from_ns, to_ns, strings, series, statuses, errors, steps, delivery, seconds,
                named, health, histograms ]

Every name is an index into `strings`. `histograms` holds the counts of all series, then of the seconds that have any,
then of the loop lag, in that order (see `columns`); written densely they make version 2. An error may say which agents
saw it, which readers of version 3 understand. Decoding checks every bound of `Limits` and raises `CodecError` on
anything else; memory is a multiple of the input, which is itself bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.counts import Counts
from loadproof.histogram.layout import LAYOUT_ID
from loadproof.metrics import columns
from loadproof.metrics.block import Block
from loadproof.metrics.by_agent import AGENTS_MAX
from loadproof.metrics.delta import (
    CATEGORIES,
    Delivery,
    Delta,
    ErrorKey,
    ErrorStats,
    Health,
    Sample,
    SecondStats,
)
from loadproof.metrics.errors import CodecError
from loadproof.metrics.merge import STRETCHES_MAX, merge_delivery, merge_errors, merge_seconds
from loadproof.metrics.names import MEASURES, OUTCOMES, read_names, series_keys, status_keys, step_order
from loadproof.metrics.text import clean_name

VERSION, DENSE_VERSION, AGENTS_VERSION = 1, 2, 3
_FIELDS: Final = 14
_NO_NUMBERS: Final = columns.pack_integers(())
_SAMPLES_MAX: Final = 5
_TEXT_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one encoded delta may hold. Beyond it, decoding raises `CodecError`; our own workers stay far below."""

    bytes_max: int = 8 * 1024 * 1024
    strings_max: int = 30_000
    string_chars_max: int = 1_000
    series_max: int = 30_000
    rows_max: int = 30_000
    errors_max: int = 4_000
    sample_chars_max: int = _TEXT_MAX
    count_max: int = 1 << 40
    time_ns_max: int = 31 * 24 * 3_600 * 1_000_000_000


class _Strings:
    """Numbers names in the order of first use."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.index.setdefault(text, len(self.index))


def encode_delta(delta: Delta, *, dense: bool = False, agents: bool = True) -> bytes:
    """Return `delta` as bytes, names cleaned and sample texts cut, so that our own decoder takes them.

    `dense`: for a reader of version 2, many counters in little more than half of the bytes. `agents` False: for one
    before version 3, which does not know that failures may name their agents.
    """
    ref = _Strings()
    histograms: list[Counts] = []
    series: list[int] = []
    for key, counts in sorted(delta.series.items(), key=itemgetter(0)):  # the same names make the same bytes
        if not counts.n:
            continue
        series += (ref(key.transaction), ref(key.step), ref(key.endpoint), ref(key.phase))
        series.append(OUTCOMES.index(key.outcome) * 4 + MEASURES.index(key.measure))
        histograms.append(counts)
    statuses: list[int] = []
    for status, n in sorted(delta.statuses.items()):
        statuses += (
            ref(status.transaction), ref(status.step), ref(status.endpoint), ref(status.phase), status.status, n,
        )  # fmt: skip
    errors = [
        _error_row(ref, error, stats, agents=agents) for error, stats in sorted(delta.errors.items(), key=itemgetter(0))
    ]
    steps: list[int] = []
    for (transaction, step), ordinal in sorted(delta.step_order.items()):
        steps += (ref(transaction), ref(step), ordinal)
    delivery: list[int] = []
    for (transaction, phase), d in sorted(delta.delivery.items(), key=itemgetter(0)):
        delivery += (ref(transaction), ref(phase), d.started, d.completed, d.failed, d.late, d.dropped, d.missed)
    seconds: list[int] = []
    for (second, transaction), s in sorted(delta.seconds.items(), key=itemgetter(0)):
        measured = s.response is not None and s.response.n > 0
        seconds += (
            second,
            ref(transaction),
            s.started,
            s.completed,
            s.failed,
            s.late,
            s.dropped,
            s.missed,
            s.in_flight,
        )
        seconds.append(int(measured))
        if measured and s.response is not None:
            histograms.append(s.response)
    named = [
        columns.pack_integers([number for name, n in table.items() for number in (ref(name), n)])
        for table in (delta.counters, delta.draws, delta.exhausted)
    ]
    health = _health_row(ref, delta.health)
    if delta.health.lag is not None and delta.health.lag.n:
        histograms.append(delta.health.lag)
    ints, packed_histograms = columns.pack_integers, columns.pack(histograms, dense=dense)
    version = DENSE_VERSION if len(packed_histograms) == columns.DENSE_COLUMNS else VERSION
    packed: bytes = msgpack.packb(
        [
            version, LAYOUT_ID, delta.from_ns, delta.to_ns, [clean_name(text) for text in ref.index], ints(series),
            ints(statuses), errors, ints(steps), ints(delivery), ints(seconds), named, health, packed_histograms,
        ],
        unicode_errors="replace",
    )  # fmt: skip
    return packed


def _error_row(ref: _Strings, key: ErrorKey, stats: ErrorStats, *, agents: bool) -> list[Any]:
    names = [ref(key.transaction), ref(key.step), ref(key.endpoint), ref(key.message), ref(key.phase)]
    samples = [
        [
            s.rank,
            s.k,
            s.at_ns,
            *(text[:_TEXT_MAX] for text in (s.agent_id, s.trace_id, s.request, s.response, s.detail)),
        ]
        for s in stats.samples[:_SAMPLES_MAX]
    ]
    row = [*names, CATEGORIES.index(key.category), stats.count, stats.first_ns, stats.last_ns, samples]
    if agents and stats.agents:
        row.append([number for agent_id, n in sorted(stats.agents.items()) for number in (ref(agent_id), n)])
    return row


def _health_row(ref: _Strings, health: Health) -> list[Any]:
    stretches = sorted(health.user_cpu_us.items(), key=lambda item: (-item[1], item[0]))[:STRETCHES_MAX]
    flat = [number for (transaction, step), us in stretches for number in (ref(transaction), ref(step), us)]
    return [
        health.worker_cpu_permille, health.machine_cpu_permille, health.memory_bytes, health.open_files,
        health.gc_pause_us_max, int(health.lag is not None and health.lag.n > 0), columns.pack_integers(flat),
    ]  # fmt: skip


def decode_delta(data: bytes, limits: Limits | None = None) -> Delta:
    """Return the delta that `encode_delta` wrote; raises `CodecError`, and nothing else, on any other bytes.

    Names come out cleaned; keys that become equal by that are added.
    """
    return decode_block(data, limits).delta()


def decode_block(data: bytes, limits: Limits | None = None) -> Block:
    """Return the same, checked as thoroughly, with its histograms left in columns: see `Block`."""
    return decode_blocks([data], limits)[0]


def decode_blocks(messages: Sequence[bytes], limits: Limits | None = None) -> list[Block]:
    """Return what `decode_block` returns for each message. Raises `CodecError` when one of them is wrong."""
    limits = limits or Limits()
    longest = max(map(len, messages), default=0)
    if longest > limits.bytes_max:
        raise CodecError(f"a delta of {longest} bytes, more than {limits.bytes_max}")
    try:
        decoders = [_Decoder(data, limits) for data in messages]
        histograms = [decoder.histograms for decoder in decoders]
        checked = columns.unpack_all(histograms, limits.series_max + limits.rows_max)
        return [decoder.block(mine) for decoder, mine in zip(decoders, checked, strict=True)]
    except CodecError:
        raise
    except Exception as error:  # whatever a library finds wrong with hostile bytes is a refusal
        raise CodecError(f"not a delta: {type(error).__name__}: {error!s:.100}") from None


class _Decoder:
    """Reads one message, checking as it goes."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._limits = limits
        fields = msgpack.unpackb(
            data,
            max_str_len=max(limits.sample_chars_max * 4, limits.string_chars_max * 4),
            max_array_len=limits.strings_max,
            max_map_len=0,
            max_ext_len=0,
        )
        if not isinstance(fields, list) or len(fields) < 2:
            raise CodecError("not a delta")
        dense = isinstance(fields[-1], list) and len(fields[-1]) == columns.DENSE_COLUMNS
        if fields[0] != (DENSE_VERSION if dense else VERSION) or type(fields[0]) is not int:
            raise CodecError(
                f"a delta of version {fields[0]!r:.20}, not {VERSION} or {DENSE_VERSION}: run one Loadproof version"
                " everywhere"
            )
        if fields[1] != LAYOUT_ID:
            raise CodecError(f"histogram layout {fields[1]!r:.40}, not {LAYOUT_ID}")
        if len(fields) != _FIELDS:
            raise CodecError("a delta with missing or extra fields")
        self._fields = fields
        self._names = read_names(self._list(fields[4], limits.strings_max), limits.string_chars_max)
        self._strings = self._names.texts
        self._measured: list[tuple[int, str]] = []
        self.histograms: object = fields[-1]

    # --- primitives ---------------------------------------------------------------------------------------------------

    def _list(self, value: object, limit: int, multiple: int = 1) -> list[Any]:
        if not isinstance(value, list) or len(value) > limit * multiple or len(value) % multiple:
            raise CodecError("a list is missing, too long or torn")
        return value

    def _table(self, value: object, width: int, first: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return a column of non-negative integers in rows of `width`; those from `first` on are counts."""
        table = columns.unpack_table(value, width, self._limits.rows_max)
        if len(table) and int(table[:, first:].max()) > self._limits.count_max:
            raise CodecError("a number is missing, negative or out of range")
        return table

    def _number(self, value: object, limit: int) -> int:
        if type(value) is not int or not 0 <= value <= limit:
            raise CodecError("a number is missing, negative or out of range")
        return value

    # --- fields -------------------------------------------------------------------------------------------------------

    def block(self, checked: columns.Columns) -> Block:
        """Return the whole delta, whose histograms are `checked`."""
        limits = self._limits
        _, _, from_ns, to_ns, _, series, statuses, errors, steps, delivery, seconds, named, health, _ = self._fields
        out = Delta(self._number(from_ns, limits.time_ns_max), self._number(to_ns, limits.time_ns_max))
        if out.to_ns < out.from_ns:
            raise CodecError("a delta that ends before it begins")
        keys = series_keys(self._names, series, limits.series_max, limits.rows_max)
        names = self._strings
        self._read_statuses(statuses, out)
        for row in self._list(errors, limits.errors_max):
            self._read_error(row, out)
        out.step_order = step_order(self._names, steps, limits.rows_max)
        for transaction, phase, *counted in self._table(delivery, 8, 2).tolist():
            pair, more = (names[transaction], names[phase]), Delivery(*counted)
            known = out.delivery.get(pair)
            out.delivery[pair] = more if known is None else merge_delivery(known, more)
        self._read_seconds(seconds, out)
        for table, flat in zip((out.counters, out.draws, out.exhausted), self._list(named, 3, 3), strict=True):
            if flat == _NO_NUMBERS:
                continue
            for name_ref, n in self._table(flat, 2, 1).tolist():
                table[names[name_ref]] = table.get(names[name_ref], 0) + n
        out.health, lag = self._read_health(health)
        named_histograms = len(keys) + len(self._measured) + lag
        if named_histograms != len(checked):
            raise CodecError(f"{'fewer' if named_histograms > len(checked) else 'more'} histograms than series")
        return Block(out, keys, tuple(self._measured), lag, checked)

    def _read_statuses(self, value: object, out: Delta) -> None:
        table = self._table(value, 6, 5)
        named = bytes([table.itemsize]) + table[:, :5].tobytes()
        keys = status_keys(self._names, named, self._limits.rows_max)
        counts: list[int] = table[:, 5].tolist()
        out.statuses = dict(zip(keys, counts, strict=True))
        if len(out.statuses) < len(keys):  # names became equal when they were cleaned
            out.statuses = dict.fromkeys(keys, 0)
            for key, n in zip(keys, counts, strict=True):
                out.statuses[key] += n

    def _read_seconds(self, value: object, out: Delta) -> None:
        last = self._limits.time_ns_max // 1_000_000_000
        for second, transaction, *counted, measured in self._table(value, 10, 2).tolist():
            stats = SecondStats(*counted)
            key = (self._number(second, last), self._strings[transaction])
            if measured == 1:
                self._measured.append(key)
            known = out.seconds.get(key)
            out.seconds[key] = stats if known is None else merge_seconds(known, stats)

    def _read_error(self, row: object, out: Delta) -> None:
        limits, names = self._limits, self._strings
        if not isinstance(row, list) or len(row) not in (10, 11):
            raise CodecError("an error that is no row")
        *refs, category, count, first_ns, last_ns, samples = row[:10]
        transaction, step, endpoint, message, phase = (names[self._number(ref, len(names) - 1)] for ref in refs)
        key = ErrorKey(
            transaction, step, endpoint, CATEGORIES[self._number(category, len(CATEGORIES) - 1)], message, phase
        )
        stats = ErrorStats(
            self._number(count, limits.count_max),
            self._number(first_ns, limits.time_ns_max),
            self._number(last_ns, limits.time_ns_max),
            [self._sample(sample) for sample in self._list(samples, _SAMPLES_MAX)],
            self._agents(row[10], count) if len(row) > 10 else {},
        )
        known = out.errors.get(key)
        out.errors[key] = stats if known is None else merge_errors(known, stats)

    def _agents(self, flat: object, count: int) -> dict[str, int]:
        """Return {agent id: failures}, together no more than `count`."""
        numbers = self._list(flat, AGENTS_MAX, 2)
        out: dict[str, int] = {}
        for ref, n in zip(numbers[::2], numbers[1::2], strict=True):
            agent_id = self._strings[self._number(ref, len(self._strings) - 1)]
            out[agent_id] = out.get(agent_id, 0) + self._number(n, count)
        if sum(out.values()) > count:
            raise CodecError("agents with more failures than there were")
        return out

    def _sample(self, row: object) -> Sample:
        if not isinstance(row, list) or len(row) != 8:
            raise CodecError("a sample that is no row")
        rank, k, at_ns, *texts = row
        if not all(isinstance(text, str) and len(text) <= self._limits.sample_chars_max for text in texts):
            raise CodecError("a sample's text is missing or too long")
        widest = (1 << 64) - 1
        numbers = (self._number(rank, widest), self._number(k, widest), self._number(at_ns, self._limits.time_ns_max))
        return Sample(*numbers, *texts)

    def _read_health(self, row: object) -> tuple[Health, bool]:
        """Return the readings, and whether the loop lag has a histogram."""
        if not isinstance(row, list) or len(row) != 7:
            raise CodecError("health readings that are no row")
        *readings, has_lag, flat = row
        worker, machine, memory, files, pause = (self._number(reading, 1 << 50) for reading in readings)
        health = Health(worker, machine, memory, files, pause)
        rows = [] if flat == _NO_NUMBERS else columns.unpack_rows(flat, 3, self._limits.rows_max)
        for transaction, step, longest in rows[:STRETCHES_MAX]:
            health.user_cpu_us[self._strings[transaction], self._strings[step]] = longest
        return health, has_lag == 1
