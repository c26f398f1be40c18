"""Blocks: deltas whose histograms stay in columns, added up many at a time; bit for bit the sum of one by one."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.histogram.layout import HIGHEST, LOWEST, MAX_US
from loadproof.metrics import (
    Block,
    CodecError,
    Counts,
    Delta,
    MergedState,
    RunningTotals,
    SeriesKey,
    add_totals,
    counts_from_samples,
    decode_block,
    decode_blocks,
    decode_delta,
    encode_delta,
    series_totals,
)
from loadproof.metrics.block import merge_blocks
from loadproof.metrics.merge import merge_deltas
from metrics_samples import recorded

KEY = SeriesKey("T", "", "", "p", "ok", "response")
SEEDS = st.lists(st.integers(0, 60), min_size=1, max_size=6)


def block_of(delta: Delta) -> Block:
    """Return `delta` as a controller has it."""
    return decode_block(encode_delta(delta))


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([0, 5_000, 10**9]))
def test_blocks_added_together_are_the_sum_of_their_deltas(seeds: list[int], counters_max: int) -> None:
    """Every record of the sum is the same, whether it fits one array or is added series by series."""
    deltas = [recorded(seed) for seed in seeds]
    assert merge_blocks([block_of(delta) for delta in deltas], counters_max) == merge_deltas(deltas)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.randoms(), st.integers(1, 4))
def test_any_order_and_grouping_of_blocks_gives_one_digest(seeds: list[int], random, group: int) -> None:
    """What waited together, and for how long, changes no number."""
    one_by_one = MergedState()
    for seed in seeds:
        one_by_one.apply(recorded(seed))
    blocks = [block_of(recorded(seed)) for seed in seeds]
    random.shuffle(blocks)
    together = MergedState()
    for start in range(0, len(blocks), group):
        together.apply_all(blocks[start : start + group])
    assert together.digest() == one_by_one.digest()
    for name in ("deltas", "to_ns", "seconds", "intervals", "health_seconds", "errors", "step_order", "delivery"):
        assert getattr(together, name) == getattr(one_by_one, name), name


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.booleans())
def test_messages_read_together_are_those_read_alone(seeds: list[int], dense: bool) -> None:
    """An empty one among them, wide counts beside narrow ones, plain or dense: each holds what it holds alone."""
    messages = [encode_delta(Delta()), *(encode_delta(recorded(seed), dense=dense) for seed in seeds)]
    large = {KEY: counts_from_samples(np.full(70_000, 7))}
    messages.append(encode_delta(Delta(series=large)))
    together = decode_blocks(messages)
    assert [block.delta() for block in together] == [decode_delta(message) for message in messages]
    assert merge_blocks(together) == merge_deltas([decode_delta(message) for message in messages])


def test_messages_read_together_may_not_borrow_from_each_other() -> None:
    """A histogram too short in one and too long in the next would add up: refused, as is what is wrong alone."""
    good = Delta(series={KEY: counts_from_samples(np.array([10, 20, 3_000]))})

    def lengthened(by: int) -> bytes:
        fields = msgpack.unpackb(encode_delta(good))
        meta = np.frombuffer(fields[-1][0], "<i8").copy()
        meta[0] += by
        fields[-1][0] = meta.tobytes()
        packed: bytes = msgpack.packb(fields)
        return packed

    for messages in ([lengthened(-1), lengthened(1)], [encode_delta(good), lengthened(-1)], [encode_delta(good), b""]):
        with pytest.raises(CodecError):
            decode_blocks(messages)


def test_adding_leaves_blocks_as_they_were() -> None:
    """A block may be merged, asked for its delta, and merged again."""
    block = block_of(recorded(3))
    first = merge_blocks([block])
    assert block.delta() == block.delta() == first
    assert merge_blocks([block, block]) == merge_deltas([first, first])
    assert block.delta() == first


def test_sums_beyond_64_bits_are_exact() -> None:
    """Eight hours of a huge fleet's day-long transactions do not wrap around."""
    n = 100_000_000
    counts = Counts(np.array([28_671], np.uint16), np.array([n], np.uint64), n, n * MAX_US, MAX_US, MAX_US)
    index = counts_from_samples(np.array([MAX_US])).indices
    block = block_of(Delta(series={KEY: replace(counts, indices=index)}))
    blocks = [block] * 5
    assert merge_blocks(blocks).series[KEY].total == 5 * n * MAX_US > 1 << 65
    running = RunningTotals()
    for one in blocks:
        running.add(one)
    assert running.totals()[KEY][:2] == (5 * n, 5 * n * MAX_US)


def test_names_that_become_equal_are_added_in_columns_too() -> None:
    """A name with a control character counts with its clean twin, once each."""
    counts = counts_from_samples(np.array([7, 7, 900]))
    block = block_of(Delta(series={KEY._replace(transaction="T\x1b"): counts, KEY: counts}))
    merged = merge_blocks([block, block])
    assert merged.series == {KEY: replace(counts, counts=counts.counts * 4, n=12, total=4 * counts.total)}
    running = RunningTotals()
    running.add(block)
    assert running.totals() == series_totals(block.delta())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=14))
def test_running_totals_are_the_sum_of_each_deltas_totals(seeds: list[int]) -> None:
    """Also when an agent names other series each time, and checksums wrap."""
    running, expected = RunningTotals(), {}
    for position, seed in enumerate(seeds):
        delta = recorded(seed, transactions=1 + position % 3)
        running.add(block_of(delta))
        expected = add_totals(expected, series_totals(delta))
        if position == 4:
            assert running.totals() == expected
    running.add(block_of(Delta()))
    assert running.totals() == expected


def test_equal_names_are_read_once() -> None:
    """Agents that name the same series share one list, which is what makes adding them cheap."""
    first, second, other = (block_of(recorded(seed, transactions)) for seed, transactions in ((1, 2), (3, 2), (5, 1)))
    assert first.keys is second.keys
    assert other.keys is not first.keys


def test_what_is_remembered_excuses_nothing() -> None:
    """A list that was read before is still refused where its bytes or the limits differ, and by the type of names."""
    fields = msgpack.unpackb(encode_delta(Delta(counters={"1": 2})))
    assert decode_delta(msgpack.packb(fields)).counters == {"1": 2}
    for hostile in (1, True, None, ["1"], b"1"):
        fields[4] = [hostile]
        with pytest.raises(CodecError):
            decode_delta(msgpack.packb(fields))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 300), st.data())
def test_exactly_the_possible_sums_are_taken(seed: int, size: int, most: int, data: st.DataObject) -> None:
    """The sum of a histogram lies between those of its counters' lowest and highest values, in every octave."""
    rng = np.random.default_rng(seed)
    indices = np.sort(rng.choice(27_000, size, replace=False)).astype(np.uint16)
    counts = rng.integers(1, most, size, endpoint=True).astype(np.uint64)
    least, highest = (int((edge[indices] * counts.astype(np.int64)).sum()) for edge in (LOWEST, HIGHEST))
    slack = max(highest // 10**9, 1) + 1
    total = data.draw(st.integers(max(least - 5 * slack, 0), highest + 5 * slack))
    first, last = int(LOWEST[indices[0]]), int(LOWEST[indices[-1]])
    delta = Delta(series={KEY: Counts(indices, counts, int(counts.sum()), total, first, last)})
    if least <= total <= highest:
        assert decode_delta(encode_delta(delta)) == delta
    elif not least - slack <= total <= highest + slack:
        with pytest.raises(CodecError, match="impossible"):
            decode_delta(encode_delta(delta))
