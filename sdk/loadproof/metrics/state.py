"""The sum of every delta of a run: what the report, the rules and the live view read."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Final, NamedTuple, TypeVar

from loadproof.histogram.counts import Counts
from loadproof.histogram.dense import Histogram
from loadproof.metrics.block import Block, merge_blocks
from loadproof.metrics.canonical import digest_of
from loadproof.metrics.cells import INTERVALS_MAX, Timeline
from loadproof.metrics.delta import (
    Category,
    Delivery,
    Delta,
    ErrorKey,
    ErrorStats,
    Health,
    Measure,
    Outcome,
    SecondStats,
    SeriesKey,
    StatusKey,
)
from loadproof.metrics.fold import CAP, ERRORS_CAP, FoldPlan
from loadproof.metrics.merge import add_delivery, add_second, fold_errors, merge_errors, merge_health
from loadproof.metrics.tallies import Tallies
from loadproof.metrics.text import OTHER

SERIES_HARD_MAX: Final = 40_000
"""Most series kept while merging. A correct fleet stays far below (each worker keeps 4,000 names); what a hostile one
sends beyond is added to "(other)" at once, and `overflowed` says so."""
KEYS_HARD_MAX: Final = 20_000
"""The same for kinds of error and for statuses; for other names (transactions, counters, datasets) a tenth."""
_NS_PER_S = 1_000_000_000
_RUNNING_MAX: Final = 20_000
"""(second, transaction) for which workers' numbers in flight are still added up; the oldest half is then settled."""

_Key = TypeVar("_Key", bound=Hashable)


class IntervalKey(NamedTuple):
    """Names one series kept per interval: a transaction ("" as step) or a step. Endpoints are not kept over time."""

    transaction: str
    step: str
    phase: str
    outcome: Outcome
    measure: Measure


class FailureKey(NamedTuple):
    """Names what failures are counted by per interval: `step` is "" where a failure belongs to none."""

    transaction: str
    step: str
    phase: str
    category: Category


class MergedState:
    """Everything measured in a run, added up. Bounded whatever the agents send; see the limits in this module.

    `series`, `statuses`, `errors`, `step_order`, `delivery`, `counters`, `draws` and `exhausted` are keyed as in
    `Delta`. `overflowed` is True once a hard limit folded something before its turn: then, and only then, the digest
    may depend on the order of deltas. `deltas` counts what was applied, `to_ns` is the latest end of any.
    """

    def __init__(self) -> None:
        self.series: dict[SeriesKey, Histogram] = {}
        self.statuses: dict[StatusKey, int] = {}
        self.errors: dict[ErrorKey, ErrorStats] = {}
        self.step_order: dict[tuple[str, str], int] = {}
        self.delivery: dict[tuple[str, str], Delivery] = {}
        self.counters: dict[str, int] = {}
        self.draws: dict[str, int] = {}
        self.exhausted: dict[str, int] = {}
        self.deltas = 0
        self.to_ns = 0
        self.overflowed = False
        self._by_name: dict[tuple[str, str, str, Measure], list[SeriesKey]] = {}
        self._seconds: dict[tuple[int, str], SecondStats] = {}
        self._seconds_width = 1
        self._transactions: set[str] = set()
        self._running: dict[tuple[int, str], int] = {}
        self._responses: Timeline[str] = Timeline()
        self._intervals: Timeline[IntervalKey] = Timeline()
        self._failures: Tallies[FailureKey] = Tallies()
        self._health: dict[int, Health] = {}
        self._health_width = 1
        self._touched_seconds: set[int] = set()
        self._touched_health: set[int] = set()
        self._renumbered = False

    # --- adding -------------------------------------------------------------------------------------------------------

    def apply(self, delta: Delta) -> None:
        """Add one delta. Exact; any order and grouping of the same deltas gives the same numbers and digest."""
        self._apply(delta, _middle_s(delta))
        self.deltas += 1

    def apply_all(self, blocks: Sequence[Block]) -> None:
        """Add many deltas: the same as one by one and much cheaper, those of the same second are added up at once."""
        groups: dict[int, list[Block]] = {}
        for block in blocks:
            groups.setdefault(_middle_s(block.rest), []).append(block)
        for middle_s, group in groups.items():
            self._apply(merge_blocks(group), middle_s)
        self.deltas += len(blocks)

    def _apply(self, delta: Delta, middle_s: int) -> None:
        self.to_ns = max(self.to_ns, delta.to_ns)
        for key, counts in delta.series.items():
            histogram = self.series.get(key)
            if histogram is None:
                histogram = self._new_series(key)
            histogram.add(counts)
            if not key.endpoint and key.measure != "lateness":
                name = IntervalKey(key.transaction, key.step, key.phase, key.outcome, key.measure)
                if histogram is self.series.get(key):
                    self._intervals.add(middle_s, name, counts)
        for status, n in delta.statuses.items():
            self._count(self.statuses, status, n, KEYS_HARD_MAX, StatusKey(OTHER, OTHER, OTHER, "", status.status))
        for error, stats in delta.errors.items():
            kept = self._apply_error(error, stats)
            failure = FailureKey(kept.transaction, kept.step, kept.phase, kept.category)
            self._failures.add(middle_s, failure, stats.count)
        for step, ordinal in delta.step_order.items():
            if step in self.step_order or len(self.step_order) < KEYS_HARD_MAX:
                self.step_order[step] = min(ordinal, self.step_order.get(step, ordinal))
        for name_phase, delivery in delta.delivery.items():
            self._apply_delivery(name_phase, delivery)
        for (second, transaction), second_stats in delta.seconds.items():
            self._apply_second(second, transaction, second_stats)
        for mine, theirs in (
            (self.counters, delta.counters), (self.draws, delta.draws), (self.exhausted, delta.exhausted),
        ):  # fmt: skip
            for counter, n in theirs.items():
                self._count(mine, counter, n, KEYS_HARD_MAX // 10, OTHER)
        self._apply_health(middle_s, delta.health)
        self._failures.widen_to(self._intervals.width_s)
        self._intervals.widen_to(self._failures.width_s)

    def _new_series(self, key: SeriesKey) -> Histogram:
        if len(self.series) >= SERIES_HARD_MAX:
            self.overflowed = True
            key = SeriesKey(OTHER, OTHER, OTHER, "", key.outcome, key.measure)
            known = self.series.get(key)
            if known is not None:
                return known
        histogram = self.series[key] = Histogram()
        self._by_name.setdefault((key.transaction, key.step, key.endpoint, key.measure), []).append(key)
        return histogram

    def _count(self, into: dict[_Key, int], key: _Key, n: int, limit: int, other: _Key) -> None:
        if key not in into and len(into) >= limit:
            self.overflowed = True
            key = other
        into[key] = into.get(key, 0) + n

    def _apply_error(self, key: ErrorKey, stats: ErrorStats) -> ErrorKey:
        """Add `stats`; return the key they were counted under."""
        if key not in self.errors and len(self.errors) >= KEYS_HARD_MAX - KEYS_HARD_MAX // 10:
            self.overflowed = True
            key = ErrorKey(key.transaction, "", "", key.category, OTHER, key.phase)  # what rules count stays whole
            if key not in self.errors and len(self.errors) >= KEYS_HARD_MAX:  # made-up transactions, too
                key = ErrorKey(OTHER, "", "", key.category, OTHER, "")
        known = self.errors.get(key)
        self.errors[key] = stats if known is None else merge_errors(known, stats)
        return key

    def _apply_delivery(self, key: tuple[str, str], more: Delivery) -> None:
        if key not in self.delivery and len(self.delivery) >= KEYS_HARD_MAX // 10:
            self.overflowed = True
            key = (OTHER, "")
        mine = self.delivery.get(key)
        if mine is None:
            mine = self.delivery[key] = Delivery()
        add_delivery(mine, more)

    def _apply_second(self, second: int, transaction: str, more: SecondStats) -> None:
        if transaction not in self._transactions:
            if len(self._transactions) >= KEYS_HARD_MAX // 100:
                self.overflowed = True
                transaction = OTHER
            self._transactions.add(transaction)
        while second // self._seconds_width >= INTERVALS_MAX:
            self._widen_seconds()
        if more.response is not None:
            self._responses.add(second, transaction, more.response)
            while self._seconds_width < self._responses.width_s:
                self._widen_seconds()
        key = (second // self._seconds_width, transaction)
        mine = self._seconds.get(key)
        if mine is None:
            mine = self._seconds[key] = SecondStats()
        self._touched_seconds.add(key[0])
        add_second(mine, more)
        if more.in_flight:
            mine.in_flight = max(mine.in_flight, self._running_at(second, transaction, more.in_flight))

    def _running_at(self, second: int, transaction: str, in_flight: int) -> int:
        """Add a worker's number running at the end of `second` to the others' of that second; return the sum so far."""
        name = (second, transaction)
        self._running[name] = running = self._running.get(name, 0) + in_flight
        if len(self._running) > _RUNNING_MAX:
            for old in sorted(self._running)[: _RUNNING_MAX // 2]:
                del self._running[old]
        return running

    def _widen_seconds(self) -> None:
        self._seconds_width *= 2
        self._renumbered = True
        self._responses.widen_to(self._seconds_width)
        merged: dict[tuple[int, str], SecondStats] = {}
        for (interval, transaction), stats in self._seconds.items():
            mine = merged.setdefault((interval // 2, transaction), SecondStats())
            add_second(mine, stats)
            mine.in_flight = max(mine.in_flight, stats.in_flight)
        self._seconds = merged

    def _apply_health(self, second: int, health: Health) -> None:
        while second // self._health_width >= INTERVALS_MAX:
            self._health_width *= 2
            self._renumbered = True
            merged: dict[int, Health] = {}
            for interval, reading in self._health.items():
                known = merged.get(interval // 2)
                merged[interval // 2] = reading if known is None else merge_health(known, reading)
            self._health = merged
        interval = second // self._health_width
        known = self._health.get(interval)
        self._touched_health.add(interval)
        self._health[interval] = merge_health(known or Health(), health)

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> dict[tuple[int, str], SecondStats]:
        """Return {(first whole second of the interval, transaction): stats}; intervals are `seconds_width_s` long."""
        out: dict[tuple[int, str], SecondStats] = {}
        for (interval, transaction), stats in sorted(self._seconds.items()):
            copied = SecondStats(in_flight=stats.in_flight, response=self._responses.get(interval, transaction))
            add_second(copied, stats)
            out[interval * self._seconds_width, transaction] = copied
        return out

    def seconds_since(self, second: int) -> dict[tuple[int, str], SecondStats]:
        """Return those of `seconds` whose interval ends after `second`, for the price of these only."""
        width = self._seconds_width
        out: dict[tuple[int, str], SecondStats] = {}
        for interval in range(second // width, self.to_ns // _NS_PER_S // width + 1):
            for transaction in self._transactions:
                stats = self._seconds.get((interval, transaction))
                if stats is not None:
                    copied = SecondStats(in_flight=stats.in_flight, response=self._responses.get(interval, transaction))
                    add_second(copied, stats)
                    out[interval * width, transaction] = copied
        return out

    def service_since(self, second: int) -> dict[int, list[Counts]]:
        """Return {first whole second of the interval: service times of all transactions}, as `seconds_since` does."""
        width = self._intervals.width_s
        return {
            interval * width: [
                cell.counts()
                for key, cell in self._intervals.row(interval).items()
                if key.measure == "service" and not key.step
            ]
            for interval in range(second // width, self.to_ns // _NS_PER_S // width + 1)
        }

    @property
    def seconds_width_s(self) -> int:
        """Return the length of an interval of `seconds`: 1, doubled while more than 3,600 would be kept."""
        return self._seconds_width

    @property
    def intervals(self) -> dict[IntervalKey, dict[int, Counts]]:
        """Return {series: {first whole second of the interval: Counts}}; intervals are `intervals_width_s` long."""
        return self._intervals.by_name()

    @property
    def failures(self) -> dict[FailureKey, dict[int, int]]:
        """Return {(transaction, step, phase, category): {first whole second of the interval: count}}.

        The intervals are those of `intervals`: a failure is counted in the interval of the delta it came with. The sum
        over time is that of `errors`.
        """
        return self._failures.by_name()

    @property
    def intervals_width_s(self) -> int:
        """Return the length of an interval of `intervals` and `failures` in seconds."""
        return self._intervals.width_s

    @property
    def health_seconds(self) -> list[tuple[int, int, Health]]:
        """Return generator readings over time as (from_ns, to_ns, worst of all agents), at most 3,600."""
        width_ns = self._health_width * _NS_PER_S
        return [(i * width_ns, (i + 1) * width_ns, health) for i, health in sorted(self._health.items())]

    def names(self) -> set[tuple[str, str, str]]:
        """Return every (transaction, step, endpoint) that has a series."""
        return {(transaction, step, endpoint) for transaction, step, endpoint, _ in self._by_name}

    def histogram(
        self,
        transaction: str,
        step: str = "",
        endpoint: str = "",
        outcome: Outcome | None = None,
        phase: str | Collection[str] | None = None,
        measure: Measure = "response",
    ) -> Histogram:
        """Return the sum of the series that match, as a new histogram; empty when none does.

        `outcome` None means both, `phase` None every phase, or one name, or a set of names. A transaction has
        `response`, `service` and `lateness`; of a step or endpoint the service time is returned whatever is asked.
        """
        measure = "service" if step else measure
        phases = {phase} if isinstance(phase, str) else phase
        out = Histogram()
        for key in self._by_name.get((transaction, step, endpoint, measure), ()):
            if (outcome is None or key.outcome == outcome) and (phases is None or key.phase in phases):
                out.add(self.series[key])
        return out

    def digest(self) -> str:
        """Return the sha256 of the canonical merged state, 64 hexadecimal digits.

        Covers series, statuses, errors (without samples), delivery, counters, draws and exhausted datasets. Left out:
        timeline, intervals, samples, health, and the order of steps, which is a label.
        """
        return digest_of(self)

    # --- folding ------------------------------------------------------------------------------------------------------

    def fold(self, cap: int = CAP, errors_cap: int = ERRORS_CAP) -> int:
        """Fold (transaction, step, endpoint) beyond `cap` into "(other)", at the end of a run; return how many.

        Transactions stay first, then by count (most first), then by name: the same for any order of merging. Of kinds
        of error the `errors_cap` most frequent stay apart.
        """
        self.errors = fold_errors(self.errors, errors_cap)
        counts: dict[tuple[str, str, str], int] = dict.fromkeys(self.names(), 0)
        for key, histogram in self.series.items():
            if key.measure == "service":
                counts[key.transaction, key.step, key.endpoint] += histogram.n
        plan = FoldPlan(counts, cap)
        if not plan.folded:
            return 0
        self._fold_series(plan)
        statuses, self.statuses = self.statuses, {}
        for status, n in statuses.items():
            folded = StatusKey(*plan.name(*status[:3]), status.phase, status.status)
            self.statuses[folded] = self.statuses.get(folded, 0) + n
        errors, self.errors = self.errors, {}
        for error, stats in errors.items():
            self._apply_error(ErrorKey(*plan.name(*error[:3]), error.category, error.message, error.phase), stats)
        steps, self.step_order = self.step_order, {}
        for (transaction, step), ordinal in steps.items():
            name = plan.name(transaction, step, "")[:2]
            self.step_order[name] = min(ordinal, self.step_order.get(name, ordinal))
        self._intervals.rename(
            lambda key: IntervalKey(*plan.name(key.transaction, key.step, "")[:2], key.phase, key.outcome, key.measure)
        )
        self._failures.rename(
            lambda key: FailureKey(*plan.name(key.transaction, key.step, "")[:2], key.phase, key.category)
        )
        return len(plan.folded)

    def _fold_series(self, plan: FoldPlan) -> None:
        series, self.series, self._by_name = self.series, {}, {}
        for key, histogram in series.items():
            folded = SeriesKey(*plan.name(*key[:3]), key.phase, key.outcome, key.measure)
            known = self.series.get(folded)
            if known is None:
                self.series[folded] = histogram
                name = (folded.transaction, folded.step, folded.endpoint, folded.measure)
                self._by_name.setdefault(name, []).append(folded)
            else:
                known.add(histogram)


def _middle_s(delta: Delta) -> int:
    return (delta.from_ns + max(delta.to_ns, delta.from_ns)) // 2 // _NS_PER_S
