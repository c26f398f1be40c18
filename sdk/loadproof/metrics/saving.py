"""A merged state as bytes that can be kept, and the way back.

Totals are given whole each time. Rows of the timeline (what happened in one interval) are given where they changed
since the last time; of rows with the same kind and interval the newest counts. Everything is written as deltas, by
their codec. The state must not be added to meanwhile; reading it, from another thread too, does no harm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import msgpack

from loadproof.histogram.counts import Counts, sum_counts
from loadproof.histogram.dense import Histogram
from loadproof.metrics.cells import INTERVALS_MAX
from loadproof.metrics.codec import Limits, decode_delta, encode_delta
from loadproof.metrics.delta import Delta, SeriesKey
from loadproof.metrics.errors import CodecError
from loadproof.metrics.split import split_delta
from loadproof.metrics.state import KEYS_HARD_MAX, SERIES_HARD_MAX, IntervalKey, MergedState

PART_BYTES_MAX: Final = 4 * 1024 * 1024
"""Most bytes of one piece; more are split."""
SERIES_TOGETHER: Final = 200
"""Series in one piece: few enough that making it keeps no other thread waiting."""
_LIMITS: Final = Limits(
    bytes_max=4 * PART_BYTES_MAX, strings_max=10 * SERIES_HARD_MAX, series_max=2 * SERIES_HARD_MAX,
    rows_max=2 * SERIES_HARD_MAX, errors_max=2 * KEYS_HARD_MAX,
)  # fmt: skip


def save_totals(state: MergedState) -> Iterator[bytes]:
    """Yield everything but the timeline, in pieces of about 4 MiB at most."""
    yield msgpack.packb(
        [
            state.deltas, state.to_ns, state.overflowed, state._seconds_width, state._intervals.width_s,
            state._health_width, [[second, name, n] for (second, name), n in state._running.items()],
        ]
    )  # fmt: skip
    series = iter(state.series.items())
    while part := dict(islice(series, SERIES_TOGETHER)):
        yield from _pieces(Delta(series={key: histogram.counts() for key, histogram in part.items()}))
    yield from _pieces(
        Delta(
            statuses=state.statuses,
            errors=state.errors,
            step_order=state.step_order,
            delivery=state.delivery,
            counters=state.counters,
            draws=state.draws,
            exhausted=state.exhausted,
        )
    )


def rows_are_void(state: MergedState) -> bool:
    """Say whether rows saved before count no more, because intervals were added up in pairs since."""
    return state._renumbered or state._responses.renumbered or state._intervals.renumbered


def save_rows(state: MergedState, *, whole: bool = False) -> Iterator[bytes]:
    """Yield the rows that changed since the last call, or all of them; all where `rows_are_void`."""
    whole = whole or rows_are_void(state)
    seconds = {interval for interval, _ in state._seconds} if whole else state._touched_seconds
    health = state._health if whole else state._touched_health
    responses, intervals = state._responses.changes(whole=whole), state._intervals.changes(whole=whole)
    state._touched_seconds, state._touched_health, state._renumbered = set(), set(), False
    for interval in seconds:
        yield from _row("seconds", interval, _second_row(state, interval, responses.get(interval, {})))
    for interval, cells in intervals.items():
        series = {
            SeriesKey(key.transaction, key.step, "", key.phase, key.outcome, key.measure): total
            for key, parts in cells.items()
            if (total := sum_counts(parts)) is not None
        }
        yield from _row("intervals", interval, Delta(series=series))
    for interval in health:
        yield from _row("health", interval, Delta(health=state._health[interval]))


def _second_row(state: MergedState, interval: int, responses: Mapping[str, Sequence[Counts]]) -> Delta:
    row = Delta()
    for name in state._transactions:
        stats = state._seconds.get((interval, name))
        if stats is not None:
            response = sum_counts(responses.get(name, ()))
            row.seconds[interval, name] = dataclasses.replace(stats, response=response)
    return row


def _pieces(delta: Delta) -> Iterator[bytes]:
    data = encode_delta(delta)
    halves = split_delta(delta) if len(data) > PART_BYTES_MAX else None
    if halves is None:
        yield data
    else:
        yield from _pieces(halves[0])
        yield from _pieces(halves[1])


def _row(kind: str, interval: int, delta: Delta) -> Iterator[bytes]:
    for part, data in enumerate(_pieces(delta)):
        yield msgpack.packb([kind, interval, part, data])


def restored(totals: Iterable[bytes], rows: Iterable[bytes]) -> MergedState:
    """Return the state that `totals` and all `rows` in their order describe. Raises `CodecError` on anything else."""
    state = MergedState()
    try:
        head, *pieces = totals
        state.deltas, state.to_ns, state.overflowed, seconds_width, intervals_width, health_width, running = (
            msgpack.unpackb(head)
        )
        state._running = {(second, name): n for second, name, n in running}
        for piece in pieces:
            _add_tables(state, decode_delta(piece, _LIMITS))
        newest: dict[tuple[str, int], list[bytes]] = {}
        for row in rows:
            kind, interval, part, data = msgpack.unpackb(row)
            if part == 0:
                newest[kind, interval] = []
            newest[kind, interval].append(data)
        _restore_rows(state, newest, (seconds_width, intervals_width, health_width))
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise CodecError(f"not a merged state: {type(error).__name__}") from None
    return state


def _add_tables(state: MergedState, part: Delta) -> None:
    for key, counts in part.series.items():
        histogram = state.series[key] = Histogram()
        histogram.add(counts)
        state._by_name.setdefault((key.transaction, key.step, key.endpoint, key.measure), []).append(key)
    state.statuses.update(part.statuses)
    state.errors.update(part.errors)
    state.step_order.update(part.step_order)
    state.delivery.update(part.delivery)
    state.counters.update(part.counters)
    state.draws.update(part.draws)
    state.exhausted.update(part.exhausted)


def _restore_rows(
    state: MergedState, newest: dict[tuple[str, int], list[bytes]], widths_s: tuple[int, int, int]
) -> None:
    seconds_width, intervals_width, health_width = widths_s
    responses: dict[int, dict[str, Counts]] = {}
    intervals: dict[int, dict[IntervalKey, Counts]] = {}
    for (kind, interval), pieces in sorted(newest.items()):
        if not 0 <= interval < INTERVALS_MAX:
            raise CodecError("an interval out of range")
        for piece in pieces:
            delta = decode_delta(piece, _LIMITS)
            if kind == "health":
                state._health[interval] = delta.health
            for key, counts in delta.series.items():
                name = IntervalKey(key.transaction, key.step, key.phase, key.outcome, key.measure)
                intervals.setdefault(interval, {})[name] = counts
            for (_, transaction), stats in delta.seconds.items():
                if stats.response is not None:
                    responses.setdefault(interval, {})[transaction] = stats.response
                state._seconds[interval, transaction] = dataclasses.replace(stats, response=None)
                state._transactions.add(transaction)
    state._seconds_width, state._health_width = seconds_width, health_width
    state._responses.restore(seconds_width, responses)
    state._intervals.restore(intervals_width, intervals)
