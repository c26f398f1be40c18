"""The worker's hot path: appending integers. Counting happens once per tick, in `take`, with numpy.

All latencies enter as nanoseconds and become microseconds by floor(ns / 1000) at the tick. Series objects live as
long as the recorder and their lists stay the same objects, so a caller may keep them (and a bound `append`) across
ticks. What is counted by whole second is not counted twice: a series notes how long its lists were when a second began
(`turn`), and the seconds are cut from them at the tick.

What a worker keeps is bounded: 4,000 steps and endpoints (later ones are counted under "(other)", and so is the counter
`series.folded`), 200 kinds of error a tick (later ones under the message "(other)", counter `errors.folded`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.counts import counts_from_samples
from loadproof.metrics.delta import (
    Category,
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
from loadproof.metrics.text import OTHER, clean_name, fold_message

NAMES_MAX = 4_000
"""Distinct (transaction, step, endpoint, phase) a recorder keeps, twice the run's cap: folding by count comes later."""
ERRORS_MAX = 200
"""Distinct kinds of error in one interval."""
SAMPLES_MAX = 5
"""Samples kept for each kind of error, those of lowest rank."""
USUAL_STATUS = 200
_RANKED_MAX = 2_000
_NS_PER_S = 1_000_000_000


class EndpointSeries:
    """Service times (ns) of one endpoint: append to `ok` or `failed`, and count every status but 200 in `unusual`.

    A request without an answer has status 0.
    """

    __slots__ = ("failed", "name", "ok", "unusual")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ok: list[int] = []
        self.failed: list[int] = []
        self.unusual: dict[int, int] = {}

    def take_statuses(self) -> dict[int, int]:
        """Return how many requests of this interval ended with each status; call before the lists are emptied."""
        statuses, self.unusual = self.unusual, {}
        usual = len(self.ok) + len(self.failed) - sum(statuses.values())
        if usual > 0:
            statuses[USUAL_STATUS] = usual
        return statuses


class StepSeries:
    """Service times (ns) of one step: append to `ok` or `failed`. `ordinal` is its place in the transaction, from 0."""

    __slots__ = ("_recorder", "by_name", "failed", "name", "ok", "ordinal")

    def __init__(self, recorder: Recorder, name: str, ordinal: int) -> None:
        self._recorder = recorder
        self.name = name
        self.ordinal = ordinal
        self.ok: list[int] = []
        self.failed: list[int] = []
        self.by_name: dict[str, EndpointSeries] = {}
        """Endpoints seen so far, for a look-up without a call; `endpoint` makes those that are missing."""

    def endpoint(self, name: str) -> EndpointSeries:
        """Return the series of endpoint `name`, made on first use; "(other)" beyond the recorder's bound."""
        found = self.by_name.get(name)
        return found if found is not None else self._new_endpoint(name)

    def _new_endpoint(self, name: str) -> EndpointSeries:
        clean = clean_name(name)
        if clean not in self.by_name and not self._recorder.admit():
            clean = OTHER
        series = self.by_name.get(clean)
        if series is None:
            series = self.by_name[clean] = EndpointSeries(clean)
        if clean != OTHER:
            self.by_name[name] = series
        return series

    def endpoints(self) -> list[EndpointSeries]:
        """Return the distinct endpoint series."""
        return list({id(series): series for series in self.by_name.values()}.values())


@dataclass(slots=True)
class SecondTally:
    """Arrivals of one transaction that were intended in one whole second and did not begin in time."""

    late: int = 0
    dropped: int = 0
    missed: int = 0


class Slice(NamedTuple):
    """What happened in whole second `second`: starts, and where its completions lie in the response lists."""

    second: int
    started: int
    ok: slice
    failed: slice


class TransactionSeries:
    """One transaction in one phase. Append nanoseconds to the lists, add 1 to the counters.

    Before a start or a completion, `turn` to the second it happens in when that is not `now_second`. Each completion
    appends one response time, to `response_ok` or `response_failed`.
    """

    __slots__ = (
        "_marks", "_recorder", "by_name", "dropped", "late", "lateness", "missed", "name", "now_second", "phase",
        "response_failed", "response_ok", "service_failed", "service_ok", "started",
    )  # fmt: skip

    def __init__(self, recorder: Recorder, name: str, phase: str) -> None:
        self._recorder = recorder
        self.name = name
        self.phase = phase
        self.response_ok: list[int] = []
        self.response_failed: list[int] = []
        self.service_ok: list[int] = []
        self.service_failed: list[int] = []
        self.lateness: list[int] = []
        self.started = self.late = self.dropped = self.missed = 0
        self.by_name: dict[str, StepSeries] = {}
        """Steps seen so far, for a look-up without a call; `step` makes those that are missing."""
        self.now_second = -1
        """The whole second since the run's start that is counted in; -1 at the start of each interval."""
        self._marks: list[tuple[int, int, int, int]] = []

    def step(self, name: str, ordinal: int | None = None) -> StepSeries:
        """Return the series of step `name`, made on first use; `ordinal` (default: the next) is kept if lower."""
        found = self.by_name.get(name)
        if found is None:
            return self._new_step(name, ordinal)
        if ordinal is not None and ordinal < found.ordinal:
            found.ordinal = ordinal
        return found

    def _new_step(self, name: str, ordinal: int | None) -> StepSeries:
        place = len(self.by_name) if ordinal is None else ordinal
        clean = clean_name(name)
        if clean not in self.by_name and not self._recorder.admit():
            clean = OTHER
        series = self.by_name.get(clean)
        if series is None:
            series = self.by_name[clean] = StepSeries(self._recorder, clean, place)
        if clean != OTHER:
            self.by_name[name] = series
        return series

    def steps(self) -> list[StepSeries]:
        """Return the distinct step series."""
        return list({id(series): series for series in self.by_name.values()}.values())

    def turn(self, second: int) -> None:
        """Count what comes from here on in whole second `second` since the run's start."""
        self._marks.append((self.now_second, self.started, len(self.response_ok), len(self.response_failed)))
        self.now_second = second

    def second(self, second: int) -> SecondTally:
        """Return the tally of whole second `second`, shared by the phases of this transaction; new at each tick."""
        return self._recorder.second(second, self.name)

    def error(
        self,
        step: str,
        endpoint: str,
        category: Category,
        message: str,
        at_ns: int,
        sample_factory: Callable[[], Sample] | None = None,
        rank: int = 0,
    ) -> None:
        """Count one failure at `at_ns` (ns since the run's start). `message` is folded here.

        `sample_factory` is called only when its sample, of `rank`, is among the 5 of lowest rank seen so far for this
        kind of error.
        """
        self._recorder.note_error(
            (self.name, clean_name(step), clean_name(endpoint), category, fold_message(message), self.phase),
            at_ns, sample_factory, rank,
        )  # fmt: skip

    def take_seconds(self) -> list[Slice]:
        """Return what happened in each second of this interval; call before anything else is taken."""
        self.turn(-1)
        slices: list[Slice] = []
        started = ok = failed = 0
        for second, started_to, ok_to, failed_to in self._marks:
            if second >= 0:
                slices.append(Slice(second, started_to - started, slice(ok, ok_to), slice(failed, failed_to)))
            started, ok, failed = started_to, ok_to, failed_to
        self._marks.clear()
        return slices

    def take_delivery(self) -> Delivery | None:
        """Return and reset the counters, None when nothing happened; call before the lists are emptied."""
        failed = len(self.response_failed)
        counted = (self.started, len(self.response_ok) + failed, failed, self.late, self.dropped, self.missed)
        if not any(counted):
            return None
        self.started = self.late = self.dropped = self.missed = 0
        return Delivery(*counted)


class Recorder:
    """Everything one worker measures between two ticks. Not thread-safe: it belongs to the worker's loop.

    `sample_seed` and `agent_id` label what is recorded. `health` is filled by the worker and reset by `take`.
    """

    def __init__(self, sample_seed: int, agent_id: str) -> None:
        self.sample_seed = sample_seed
        self.agent_id = agent_id
        self.health = Health()
        self._transactions: dict[tuple[str, str], TransactionSeries] = {}
        self._seconds: dict[tuple[int, str], SecondTally] = {}
        self._errors: dict[ErrorKey, ErrorStats] = {}
        self._ranks: dict[ErrorKey, list[int]] = {}
        self._counters: dict[str, int] = {}
        self._draws: dict[str, int] = {}
        self._exhausted: dict[str, int] = {}
        self._names = 0

    def transaction(self, name: str, phase: str) -> TransactionSeries:
        """Return the series of transaction `name` in `phase`, always the same object."""
        key = (name, phase)
        found = self._transactions.get(key)
        if found is None:
            clean = (clean_name(name), clean_name(phase))
            found = self._transactions.get(clean) or TransactionSeries(self, *clean)
            self._transactions[clean] = self._transactions[key] = found
        return found

    def second(self, second: int, transaction: str) -> SecondTally:
        """Return the tally of (whole second since start, transaction) of the running interval."""
        key = (second, transaction)
        found = self._seconds.get(key)
        if found is None:
            found = self._seconds[key] = SecondTally()
        return found

    def admit(self) -> bool:
        """Say whether one more step or endpoint may be kept apart; a refusal is counted as `series.folded`."""
        if self._names < NAMES_MAX:
            self._names += 1
            return True
        self.count("series.folded")
        return False

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to the named counter, for example `http.retried`."""
        self._counters[name] = self._counters.get(name, 0) + n

    def draw(self, dataset: str) -> None:
        """Count one row drawn from `dataset`."""
        self._draws[dataset] = self._draws.get(dataset, 0) + 1

    def exhausted(self, dataset: str) -> None:
        """Count one draw refused because `dataset` had no row left."""
        self._exhausted[dataset] = self._exhausted.get(dataset, 0) + 1

    def note_error(
        self,
        names: tuple[str, str, str, Category, str, str],
        at_ns: int,
        sample_factory: Callable[[], Sample] | None,
        rank: int,
    ) -> None:
        """Count one failure under its key (see `TransactionSeries.error`)."""
        key = ErrorKey(*names)
        stats = self._errors.get(key)
        if stats is None:
            if len(self._errors) >= ERRORS_MAX:
                self.count("errors.folded")
                key = ErrorKey(key.transaction, "", "", key.category, OTHER, key.phase)
                stats = self._errors.get(key)
            if stats is None:
                stats = self._errors[key] = ErrorStats(0, at_ns, at_ns)
        stats.count += 1
        stats.first_ns = min(stats.first_ns, at_ns)
        stats.last_ns = max(stats.last_ns, at_ns)
        if sample_factory is not None and self._keeps(key, rank):
            stats.samples.append(sample_factory())
            stats.samples.sort(key=_rank)
            del stats.samples[SAMPLES_MAX:]

    def _keeps(self, key: ErrorKey, rank: int) -> bool:
        """Say whether `rank` is among the 5 lowest this recorder ever saw for `key`, and remember it."""
        ranks = self._ranks.get(key)
        if ranks is None:
            if len(self._ranks) >= _RANKED_MAX:
                return False
            ranks = self._ranks[key] = []
        if len(ranks) >= SAMPLES_MAX and rank >= ranks[-1]:
            return False
        ranks.append(rank)
        ranks.sort()
        del ranks[SAMPLES_MAX:]
        return True

    def take(self, from_ns: int, to_ns: int, in_flight: Mapping[str, int]) -> Delta:
        """Return what was recorded in [`from_ns`, `to_ns`) since the run's start, and begin the next interval.

        `in_flight` is how many of each transaction are running now; it is booked on the second that ends here.
        """
        delta = Delta(from_ns=from_ns, to_ns=to_ns)
        responses: dict[tuple[int, str], list[NDArray[np.int64]]] = {}
        for transaction in {id(series): series for series in self._transactions.values()}.values():
            self._take_transaction(transaction, delta, responses)
        for key, parts in responses.items():
            delta.seconds[key].response = counts_from_samples(parts[0] if len(parts) == 1 else np.concatenate(parts))
        for key, tally in self._seconds.items():
            stats = delta.seconds.setdefault(key, SecondStats())
            stats.late, stats.dropped, stats.missed = tally.late, tally.dropped, tally.missed
        last_second = max(to_ns - 1, 0) // _NS_PER_S
        for name, running in in_flight.items():
            if running:
                delta.seconds.setdefault((last_second, clean_name(name)), SecondStats()).in_flight = running
        delta.errors, delta.counters, delta.draws = self._errors, self._counters, self._draws
        delta.exhausted, delta.health = self._exhausted, self.health
        self._errors, self._counters, self._draws, self._exhausted = {}, {}, {}, {}
        self._seconds, self.health = {}, Health()
        return delta

    def _take_transaction(
        self, transaction: TransactionSeries, delta: Delta, responses: dict[tuple[int, str], list[NDArray[np.int64]]]
    ) -> None:
        name, phase = transaction.name, transaction.phase
        slices = transaction.take_seconds()
        delivery = transaction.take_delivery()
        if delivery is not None:
            delta.delivery[name, phase] = delivery
        ok, failed = _micros(transaction.response_ok), _micros(transaction.response_failed)
        for one in slices:
            _take_second(delta, (one.second, name), one, ok[one.ok], failed[one.failed], responses)
        lists: tuple[tuple[NDArray[np.int64], Outcome, Measure], ...] = (
            (ok, "ok", "response"),
            (failed, "failed", "response"),
            (_micros(transaction.service_ok), "ok", "service"),
            (_micros(transaction.service_failed), "failed", "service"),
            (_micros(transaction.lateness), "ok", "lateness"),
        )
        for samples, outcome, measure in lists:
            if samples.size:
                delta.series[SeriesKey(name, "", "", phase, outcome, measure)] = counts_from_samples(samples)
        for step in transaction.steps():
            used = _take_pair(delta, SeriesKey(name, step.name, "", phase, "ok", "service"), step.ok, step.failed)
            if used:
                known = delta.step_order.get((name, step.name), step.ordinal)
                delta.step_order[name, step.name] = min(known, step.ordinal)
            for endpoint in step.endpoints():
                for status, count in endpoint.take_statuses().items():
                    delta.statuses[StatusKey(name, step.name, endpoint.name, phase, status)] = count
                key = SeriesKey(name, step.name, endpoint.name, phase, "ok", "service")
                _take_pair(delta, key, endpoint.ok, endpoint.failed)


def _rank(sample: Sample) -> int:
    return sample.rank


def _take_second(
    delta: Delta,
    key: tuple[int, str],
    one: Slice,
    ok: NDArray[np.int64],
    failed: NDArray[np.int64],
    responses: dict[tuple[int, str], list[NDArray[np.int64]]],
) -> None:
    """Add one second of one phase; phases of a transaction share its seconds."""
    if not one.started and not ok.size and not failed.size:
        return
    stats = delta.seconds.setdefault(key, SecondStats())
    stats.started += one.started
    stats.completed += int(ok.size + failed.size)
    stats.failed += int(failed.size)
    for samples in (ok, failed):
        if samples.size:
            responses.setdefault(key, []).append(samples)


def _take_pair(delta: Delta, key: SeriesKey, ok: list[int], failed: list[int]) -> bool:
    if ok:
        delta.series[key] = counts_from_samples(_micros(ok))
    elif not failed:
        return False
    if failed:
        delta.series[key._replace(outcome="failed")] = counts_from_samples(_micros(failed))
    return True


def _micros(samples_ns: list[int]) -> NDArray[np.int64]:
    """Empty a list of nanoseconds into an array of whole microseconds."""
    values = np.array(samples_ns, dtype=np.int64)
    samples_ns.clear()
    values //= 1_000
    return values
