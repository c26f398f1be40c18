"""Files for other tools: HdrHistogram logs and distributions, and our own file of intervals."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.histogram import MAX_US, Histogram, counts_from_samples
from loadproof.metrics import Delta, IntervalKey, IntervalsError, MergedState, SeriesKey
from loadproof.metrics.hdrformat import encode_v2
from loadproof.metrics.hlog import write_hgrm, write_hlog
from loadproof.metrics.intervals import MAGIC, iter_intervals, read_intervals, write_intervals
from metrics_samples import bimodal, heavy_tailed, recorded


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, MAX_US), min_size=1, max_size=80))
def test_our_encoding_is_read_by_hdrhistogram(values: list[int]) -> None:
    """The library decodes the same counts at the same values."""
    counts = counts_from_samples(np.array(values, np.int64))
    decoded = HdrHistogram.decode(encode_v2(counts))
    assert decoded.get_total_count() == counts.n
    for value in values:
        ours = sum(1 for other in values if decoded.values_are_equivalent(other, value))
        assert decoded.get_count_at_value(value) == ours


def run_of_three_seconds() -> MergedState:
    state = MergedState()
    for second, values in enumerate((heavy_tailed(500, 1), bimodal(400, 2), heavy_tailed(300, 3))):
        series = {
            SeriesKey("Search, then open", "", "", "peak", "ok", "response"): counts_from_samples(values),
            SeriesKey("Checkout", "", "", "peak", "ok", "response"): counts_from_samples(values[:50]),
            SeriesKey("Checkout", "", "", "peak", "failed", "response"): counts_from_samples(values[50:53]),
            SeriesKey("Checkout", "Pay", "", "peak", "ok", "service"): counts_from_samples(values[:50]),
        }
        state.apply(Delta(second * 10**9, (second + 1) * 10**9, series))
    return state


def test_hlog_is_read_by_hdrhistogram_line_by_line(tmp_path: Path) -> None:
    """One tag a transaction, one line an interval, microseconds."""
    path = tmp_path / "histograms.hlog"
    state = run_of_three_seconds()
    write_hlog(path, state, started_at_s=1_700_000_000.0)
    reader = HistogramLogReader(str(path), HdrHistogram(1, MAX_US, 3))
    read = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        read.append(histogram)
    reader.close()
    assert len(read) == 9
    assert {histogram.get_tag() for histogram in read} == {"Search_then_open", "Checkout", "Checkout/failed"}
    search = HdrHistogram(1, MAX_US, 3)
    for histogram in read:
        if histogram.get_tag() == "Search_then_open":
            search.add(histogram)
    ours = state.histogram("Search, then open")
    assert search.get_total_count() == ours.n == 1_200
    assert search.get_value_at_percentile(95) == pytest.approx(ours.quantile(0.95), rel=0.002)
    starts = sorted({int(histogram.get_start_time_stamp()) for histogram in read})
    assert starts == [1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000]
    assert not list(tmp_path.glob("*.tmp"))


def test_tags_stay_distinct_when_names_become_equal(tmp_path: Path) -> None:
    """Two names that differ in a comma only have two tags."""
    state = MergedState()
    for name in ("a b", "a,b"):
        state.apply(Delta(series={SeriesKey(name, "", "", "", "ok", "response"): counts_from_samples(np.array([5]))}))
    path = tmp_path / "x.hlog"
    write_hlog(path, state)
    tags = [line.split(",")[0] for line in path.read_text().splitlines() if line.startswith("Tag=")]
    assert tags == ["Tag=a_b", "Tag=a_b_2"]


def test_hgrm_lists_rising_percentiles_up_to_the_maximum(tmp_path: Path) -> None:
    """Values in milliseconds, ending at 1.0 with every sample."""
    histogram = Histogram()
    histogram.record_many(heavy_tailed(3_000))
    path = tmp_path / "x.hgrm"
    write_hgrm(path, histogram)
    rows = [line.split() for line in path.read_text().splitlines()[2:] if not line.startswith("#")]
    values, levels, counts = ([float(row[i]) for row in rows] for i in range(3))
    assert values == sorted(values)
    assert levels == sorted(levels)
    assert counts == sorted(counts)
    assert (levels[-1], counts[-1]) == (1.0, 3_000)
    assert values[-1] == pytest.approx((histogram.max_us or 0) / 1_000, abs=0.001)
    middle = levels.index(0.5)
    assert values[middle] == pytest.approx((histogram.quantile(0.5) or 0) / 1_000, abs=0.001)


def test_hgrm_of_nothing_is_a_file_without_rows(tmp_path: Path) -> None:
    """A transaction that never ran has a distribution without values."""
    write_hgrm(tmp_path / "x.hgrm", Histogram())
    assert "Total count" in (tmp_path / "x.hgrm").read_text()


def test_intervals_survive_the_file(tmp_path: Path) -> None:
    """What is read is what was merged, as a whole and one by one."""
    state = run_of_three_seconds()
    state.apply(recorded(3))
    path = tmp_path / "intervals.bin"
    write_intervals(path, state)
    read = read_intervals(path)
    assert read.width_s == 1
    assert read.series == state.intervals
    streamed = list(iter_intervals(path))
    assert [second for second, _ in streamed] == sorted({s for cells in state.intervals.values() for s in cells})
    pay = IntervalKey("Checkout", "Pay", "peak", "ok", "service")
    assert streamed[0][1][pay] == state.intervals[pay][0]


def test_a_run_without_samples_has_a_file_too(tmp_path: Path) -> None:
    """No interval is a valid number of intervals."""
    write_intervals(tmp_path / "i.bin", MergedState())
    assert read_intervals(tmp_path / "i.bin").series == {}


@pytest.mark.parametrize("cut", [0, 5, 12, 40, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    """A half-written file is never taken for a short run."""
    path = tmp_path / "i.bin"
    write_intervals(path, run_of_three_seconds())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntervalsError):
        read_intervals(path)


@settings(max_examples=80, deadline=None)
@given(where=st.floats(0, 1), byte=st.integers(0, 255))
def test_a_damaged_byte_is_noticed(tmp_path_factory, where: float, byte: int) -> None:
    """Every byte is covered by a checksum or a length."""
    path = tmp_path_factory.mktemp("i") / "i.bin"
    write_intervals(path, run_of_three_seconds())
    data = bytearray(path.read_bytes())
    position = int(where * (len(data) - 1))
    if data[position] == byte:
        return
    data[position] = byte
    path.write_bytes(data)
    with pytest.raises(IntervalsError):
        read_intervals(path)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.none() | st.integers(-5, 2**40) | st.text(max_size=4) | st.binary(max_size=9), st.lists, max_leaves=8
        ),
        max_size=5,
    )
)
def test_hostile_frames_with_right_checksums_are_refused_by_type(tmp_path_factory, frames) -> None:
    """A forged file raises IntervalsError and nothing else."""
    path = tmp_path_factory.mktemp("i") / "i.bin"
    data = MAGIC
    for frame in frames:
        payload = msgpack.packb(frame)
        data += struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    path.write_bytes(data)
    with pytest.raises(IntervalsError):
        read_intervals(path)
