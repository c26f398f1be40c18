"""What workers record and the fleet adds up: deltas, their sum, and both as bytes. Integers only; exact."""

from loadproof.histogram.counts import counts_from_samples, merge_counts
from loadproof.metrics.block import Block
from loadproof.metrics.by_agent import attribute
from loadproof.metrics.codec import (
    AGENTS_VERSION,
    DENSE_VERSION,
    Limits,
    decode_block,
    decode_blocks,
    decode_delta,
    encode_delta,
)
from loadproof.metrics.delta import (
    CATEGORIES,
    Category,
    Counts,
    Delivery,
    Delta,
    ErrorKey,
    ErrorStats,
    Health,
    Measure,
    Outcome,
    Sample,
    SecondStats,
    SeriesKey,
    StatusKey,
)
from loadproof.metrics.errors import CodecError, IntervalsError, MetricsError
from loadproof.metrics.merge import add_delivery, merge_delta, merge_deltas
from loadproof.metrics.recorder import EndpointSeries, Recorder, SecondTally, StepSeries, TransactionSeries
from loadproof.metrics.saving import restored, rows_are_void, save_rows, save_totals
from loadproof.metrics.split import split_delta
from loadproof.metrics.state import IntervalKey, MergedState
from loadproof.metrics.sums import Sums, add_sums, sums_of
from loadproof.metrics.text import OTHER, clean_name, fold_message
from loadproof.metrics.totals import (
    RunningTotals,
    SeriesTotals,
    add_totals,
    decode_totals,
    encode_totals,
    series_totals,
)

__all__ = [
    "AGENTS_VERSION",
    "CATEGORIES",
    "DENSE_VERSION",
    "OTHER",
    "Block",
    "Category",
    "CodecError",
    "Counts",
    "Delivery",
    "Delta",
    "EndpointSeries",
    "ErrorKey",
    "ErrorStats",
    "Health",
    "IntervalKey",
    "IntervalsError",
    "Limits",
    "Measure",
    "MergedState",
    "MetricsError",
    "Outcome",
    "Recorder",
    "RunningTotals",
    "Sample",
    "SecondStats",
    "SecondTally",
    "SeriesKey",
    "SeriesTotals",
    "StatusKey",
    "StepSeries",
    "Sums",
    "TransactionSeries",
    "add_delivery",
    "add_sums",
    "add_totals",
    "attribute",
    "clean_name",
    "counts_from_samples",
    "decode_block",
    "decode_blocks",
    "decode_delta",
    "decode_totals",
    "encode_delta",
    "encode_totals",
    "fold_message",
    "merge_counts",
    "merge_delta",
    "merge_deltas",
    "restored",
    "rows_are_void",
    "save_rows",
    "save_totals",
    "series_totals",
    "split_delta",
    "sums_of",
]
