"""Deltas as bytes: nothing lost on the way, and no bytes that crash or grow the reader."""

from __future__ import annotations

import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.metrics import (
    CodecError,
    Counts,
    Delta,
    ErrorKey,
    ErrorStats,
    Limits,
    SeriesKey,
    columns,
    counts_from_samples,
    decode_delta,
    decode_totals,
    encode_delta,
    encode_totals,
    merge_delta,
    series_totals,
)
from metrics_samples import recorded, sample

KEY = SeriesKey("T", "", "", "p", "ok", "response")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500))
def test_a_delta_survives_the_way_there_and_back(seed: int) -> None:
    """Decoding gives back what was encoded, every record of it."""
    delta = recorded(seed)
    assert decode_delta(encode_delta(delta)) == delta


def test_an_empty_delta_survives() -> None:
    """A quiet interval is a delta too."""
    delta = Delta(5, 9)
    assert decode_delta(encode_delta(delta)) == delta


@pytest.mark.parametrize("samples", [1, 30, 4_000])
def test_a_dense_delta_survives_the_way_there_and_back(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and counts that fit half a byte, and those that do not; a reader of version 1 refuses it in words."""
    monkeypatch.setattr(columns, "DENSE_COUNTERS", 1)
    delta = recorded(3, 2, samples)
    delta.series[KEY] = counts_from_samples(np.repeat([0, 1, 16, 40, 86_400_000_000], [1, 15, 16, 300, 70_000]))
    encoded = encode_delta(delta, dense=True)
    assert decode_delta(encoded) == delta == decode_delta(encode_delta(delta))
    assert msgpack.unpackb(encoded)[0] == 2


def test_many_counters_take_little_more_than_half_of_the_bytes() -> None:
    """The deltas of a dense fleet, four seconds of 1,000 samples in each series; what is small is written plainly."""
    random = np.random.default_rng(1)
    delta = Delta()
    for number in range(5):
        times = random.lognormal(10.6, 0.5, 4_000).astype(np.int64)
        delta.series[KEY._replace(step=f"Step {number}")] = counts_from_samples(times)
    plain, dense = len(encode_delta(delta)), len(encode_delta(delta, dense=True))
    assert dense < 0.6 * plain
    small = recorded(1)
    assert encode_delta(small, dense=True) == encode_delta(small)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 5), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_dense_delta_with_flipped_bytes_is_refused_or_sound(seed: int, flips) -> None:
    """Damage in steps and counts never yields histograms that do not add up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "DENSE_COUNTERS", 1)
        data = bytearray(encode_delta(recorded(seed, 1, 6), dense=True))
    for where, byte in flips:
        data[int(where * (len(data) - 1))] = byte
    check_refused_or_sound(bytes(data))


def test_so_many_counters_and_no_more_are_read_from_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte of a dense message may stand for a counter, which takes more than a byte to keep."""
    monkeypatch.setattr(columns, "DENSE_COUNTERS", 1)
    encoded = encode_delta(recorded(1), dense=True)
    monkeypatch.setattr(columns, "COUNTERS_TOGETHER_MAX", 10)
    with pytest.raises(CodecError, match="more than 10 counters"):
        decode_delta(encoded)


def test_large_counts_survive() -> None:
    """Counts wider than a byte take the width they need."""
    counts = Counts(np.array([3], np.uint16), np.array([300_000], np.uint64), 300_000, 900_000, 3, 3)
    delta = Delta(series={KEY: counts})
    assert decode_delta(encode_delta(delta)) == delta


def test_a_typical_delta_is_compact() -> None:
    """A counter takes 3 bytes, a series well under 100 beside them."""
    delta = recorded(1, transactions=5, samples=200)
    counters = sum(len(counts.indices) for counts in delta.series.values())
    assert len(encode_delta(delta)) < 3.2 * (counters * 1.4) + 100 * len(delta.series)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_by_type(data: bytes) -> None:
    """Only CodecError, whatever arrives."""
    with pytest.raises(CodecError):
        decode_delta(data)
    with pytest.raises(CodecError):
        decode_totals(data)


JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 20), st.integers(0, 13), JSONISH)
def test_a_delta_with_one_field_replaced_is_refused_or_sound(seed: int, field: int, value: object) -> None:
    """A hostile field is refused; what is accepted has consistent histograms and clean names."""
    fields = msgpack.unpackb(encode_delta(recorded(seed, 1, 4)))
    fields[field] = value
    check_refused_or_sound(msgpack.packb(fields))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 5), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_delta_with_flipped_bytes_is_refused_or_sound(seed: int, flips) -> None:
    """Damage inside columns never yields counts that do not add up."""
    data = bytearray(encode_delta(recorded(seed, 1, 6)))
    for where, byte in flips:
        data[int(where * (len(data) - 1))] = byte
    check_refused_or_sound(bytes(data))


def check_refused_or_sound(data: bytes) -> None:
    try:
        delta = decode_delta(data)
    except CodecError:
        return
    for key, counts in delta.series.items():
        assert int(counts.counts.sum()) == counts.n > 0
        assert (np.diff(counts.indices.astype(int)) > 0).all()
        assert 0 <= counts.minimum <= counts.maximum
        assert all("\x00" not in part and len(part) <= 200 for part in key)
    assert all(n >= 0 for n in delta.counters.values())


def broken(**changes) -> Delta:
    good = counts_from_samples(np.array([10, 20, 3_000]))
    fields = {name: getattr(good, name) for name in Counts.__slots__} | changes
    return Delta(series={KEY: Counts(**fields)})


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        (broken(n=4), "add up"),
        (broken(minimum=11), "outside its counter"),
        (broken(maximum=4_000), "outside its counter"),
        (broken(total=5), "impossible"),
        (broken(total=10**9), "impossible"),
        (broken(clamped=9), "clamped"),
        (broken(indices=np.array([20, 10, 2_524], np.uint16)), "rise"),
        (broken(indices=np.array([10, 20, 28_672], np.uint16)), "outside the layout"),
        (broken(counts=np.array([1, 0, 2], np.uint64)), "zero"),
        (broken(counts=np.array([1, 2**41, 2], np.uint64)), "out of range"),
        (Delta(from_ns=9, to_ns=3), "ends before"),
        (Delta(from_ns=0, to_ns=10**18), "out of range"),
        (Delta(counters={str(i): 1 for i in range(30_001)}), "max_array_len"),
    ],
)
def test_inconsistent_histograms_are_refused_with_the_reason(delta: Delta, why: str) -> None:
    """Each bound is checked and named."""
    with pytest.raises(CodecError, match=why):
        decode_delta(encode_delta(delta))


def test_negative_numbers_can_not_be_written() -> None:
    """Counts are unsigned on the wire."""
    with pytest.raises((OverflowError, ValueError)):
        encode_delta(Delta(counters={"a": -1}))


def test_limits_are_adjustable() -> None:
    """A controller may allow less."""
    data = encode_delta(recorded(1))
    with pytest.raises(CodecError, match="bytes"):
        decode_delta(data, Limits(bytes_max=100))
    with pytest.raises(CodecError, match="series"):
        decode_delta(data, Limits(series_max=3))


def test_another_version_or_layout_is_refused_in_words() -> None:
    """Mixed versions in a fleet are told what to do."""
    fields = msgpack.unpackb(encode_delta(Delta()))
    fields[0] = 2
    with pytest.raises(CodecError, match="one Loadproof version"):
        decode_delta(msgpack.packb(fields))
    fields[0], fields[1] = 1, "hdr-us-2"
    with pytest.raises(CodecError, match="layout"):
        decode_delta(msgpack.packb(fields))


def test_names_come_out_clean_and_equal_ones_are_added() -> None:
    """A terminal or report never sees control or bidi characters from an agent."""
    counts = counts_from_samples(np.array([7]))
    delta = Delta(series={KEY._replace(transaction="T\x1b"): counts, KEY: counts})
    decoded = decode_delta(encode_delta(delta))
    assert list(decoded.series) == [KEY]
    assert decoded.series[KEY].n == 2


def test_samples_are_bounded() -> None:
    """Five samples an error, each text bounded: cut by the sender, refused by the reader."""
    key = ErrorKey("T", "", "", "check", "m", "p")
    many = Delta(errors={key: ErrorStats(9, 0, 1, [sample(rank) for rank in range(9)])})
    assert len(decode_delta(encode_delta(many)).errors[key].samples) == 5
    long = sample(1)
    long.response = "x" * 20_001
    data = encode_delta(Delta(errors={key: ErrorStats(1, 0, 1, [long])}))
    assert len(decode_delta(data).errors[key].samples[0].response) == 20_000
    with pytest.raises(CodecError, match="too long"):
        decode_delta(data, Limits(sample_chars_max=10_000))


def test_long_names_are_cut_by_the_sender_and_refused_by_the_reader() -> None:
    """A name has 200 characters at most; over 1,000 the sender is not ours."""
    assert list(decode_delta(encode_delta(Delta(counters={"x" * 1_001: 1}))).counters) == ["x" * 200]
    fields = msgpack.unpackb(encode_delta(Delta()))
    fields[4] = ["x" * 1_001]
    with pytest.raises(CodecError, match="1000 characters"):
        decode_delta(msgpack.packb(fields))


def test_a_sum_of_deltas_stays_within_what_one_may_hold() -> None:
    """Coalescing through a long partition can't make a delta that the controller refuses."""
    sums = Delta()
    for part in range(5):
        errors = {ErrorKey("T", "", "", "check", f"{part} {i}", "p"): ErrorStats(1, 0, 0) for i in range(900)}
        sums = merge_delta(sums, Delta(errors=errors))
    assert len(sums.errors) <= 2_000
    assert sum(stats.count for stats in decode_delta(encode_delta(sums)).errors.values()) == 4_500


def test_declared_sizes_do_not_allocate() -> None:
    """A short message that declares huge arrays, also nested ones, costs next to nothing."""
    bombs = [
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x00\x75\x30" * 400,
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 100_000,
    ]
    tracemalloc.start()
    for bomb in bombs:
        with pytest.raises(CodecError):
            decode_delta(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 128 * 1024 * 1024


def test_totals_survive_the_way_there_and_back() -> None:
    """Equal totals have equal bytes."""
    totals = series_totals(recorded(4))
    data = encode_totals(totals)
    assert decode_totals(data) == totals
    assert encode_totals(dict(reversed(totals.items()))) == data


@settings(max_examples=100, deadline=None)
@given(JSONISH)
def test_hostile_totals_are_refused_by_type(value: object) -> None:
    """Nothing but CodecError, and nothing but counts."""
    try:
        totals = decode_totals(msgpack.packb([1, value]))
    except CodecError:
        return
    assert all(entry.n >= 0 and entry.checksum >= 0 for entry in totals.values())
