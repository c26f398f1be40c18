"""What the controller holds beside the merged numbers: totals per agent, readings, and what happened when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from loadproof.histogram import Counts, Histogram
from loadproof.histogram.counts import sum_counts
from loadproof.metrics import Block, Delta, RunningTotals, SeriesKey, SeriesTotals, Sums, sums_of
from loadproof_controller.clock import drift_ns
from loadproof_controller.messages import Heartbeat
from loadproof_controller.relays.messages import ChildBeat
from loadproof_report.rundata import RunEvent

EVENTS_MAX = 10_000
LOG_LINES_MAX = 1_000
NS_PER_S = 1_000_000_000
LAGS_MAX = 32
"""Histograms of an agent's loop lag that wait to be added up together."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that happened at `at_ns` of the controller's clock."""

    at_ns: int
    kind: str
    text: str
    agent_id: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def since(self, zero_ns: int) -> RunEvent:
        """Return it with its time counted from `zero_ns`."""
        return RunEvent((self.at_ns - zero_ns) / NS_PER_S, self.kind, self.text, self.agent_id, self.data)


class EventBook:
    """Events of one run in order, at most 10,000 and 1,000 lines of user logs; what was left out is counted."""

    def __init__(self) -> None:
        self.noted: list[Noted] = []
        self._fresh: deque[Noted] = deque(maxlen=1_000)
        self._log_lines = 0
        self._left_out = 0

    def note(self, noted: Noted) -> bool:
        """Keep an event; False when the limit is reached."""
        if noted.kind == "log":
            self._log_lines += 1
        if len(self.noted) >= EVENTS_MAX or (noted.kind == "log" and self._log_lines > LOG_LINES_MAX):
            self._left_out += 1
            return False
        self.noted.append(noted)
        self._fresh.append(noted)
        return True

    def fresh(self, zero_ns: int) -> tuple[RunEvent, ...]:
        """Return what was noted since the last call."""
        events = tuple(noted.since(zero_ns) for noted in self._fresh)
        self._fresh.clear()
        return events

    def all(self, zero_ns: int, end_ns: int) -> tuple[RunEvent, ...]:
        """Return every event, and one that says how many were left out."""
        events = [noted.since(zero_ns) for noted in self.noted]
        if self._left_out:
            text = f"{self._left_out} further events and log lines were left out"
            events.append(Noted(end_ns, "events_left_out", text, data={"count": self._left_out}).since(zero_ns))
        return tuple(events)


@dataclass(slots=True)
class AgentBook:
    """What was heard of one agent process: totals of its series as merged, last and highest readings, loop lag.

    What came merged with others' through a relay is in `relayed_sums` instead of `totals`: None when nothing did.
    `started` counts arrivals or iterations; `started_known` is False when a relay did not say how many. Its first
    worker began the load at `began_ns` of our clock, None before: as that was known when it was first said, to
    `began_known_ns`.
    """

    running: RunningTotals = field(default_factory=RunningTotals)
    final_totals: dict[SeriesKey, SeriesTotals] | None = None
    final_lost: int = 0
    relayed_sums: Sums | None = None
    worker_events_seen: int = 0
    cpu_permille_max: int = 0
    memory_bytes_max: int = 0
    in_flight: int = 0
    cpu_permille: int = 0
    machine_cpu_permille: int = 0
    memory_bytes: int = 0
    lags: list[Counts] = field(default_factory=list)
    began_ns: int | None = None
    began_known_ns: int = 0
    started: int = 0
    started_known: bool = True
    _began_there_ns: int = 0

    @property
    def totals(self) -> dict[SeriesKey, SeriesTotals]:
        """Return the totals of the agent's series as merged."""
        return self.running.totals()

    def merged(self, delta: Delta) -> None:
        """Note what was merged from the agent."""
        self.running.add_delta(delta)
        self._read(delta, delta.health.lag)

    def took(self, block: Block) -> None:
        """Note the same of a delta in columns."""
        self.running.add(block)
        self._read(block.rest, block.lag_counts())

    def _read(self, delta: Delta, lag: Counts | None) -> None:
        self.started += sum(delivery.started for delivery in delta.delivery.values())
        health = delta.health
        self.cpu_permille_max = max(self.cpu_permille_max, health.worker_cpu_permille)
        self.memory_bytes_max = max(self.memory_bytes_max, health.memory_bytes)
        if lag is not None:
            self.lags.append(lag)
            if len(self.lags) >= LAGS_MAX:
                self.lags = [total for total in (sum_counts(self.lags),) if total is not None]

    def relayed(self, sums: Sums, started: int | None = None) -> None:
        """Note the agent's part of a block that a relay merged."""
        self.started += started or 0
        self.started_known = self.started_known and started is not None
        self.relayed_sums = sums if self.relayed_sums is None else self.relayed_sums.plus(sums)

    def heartbeat(self, beat: Heartbeat, clock: tuple[int, int] | None = None) -> None:
        """Note the workers' readings.

        `clock`: nanoseconds that the agent's clock is ahead of ours, and how well that is known; None where it is not
        yet: then a later heartbeat has to tell when it began.
        """
        began_ns = min((worker.began_ns for worker in beat.workers if worker.began_ns), default=0)
        in_flight = cpu = memory = 0
        for worker in beat.workers:
            in_flight += worker.in_flight
            cpu, memory = max(cpu, worker.cpu_permille), max(memory, worker.memory_bytes)
        self._noted(in_flight, cpu, memory, beat.machine_cpu_permille)
        self._began(began_ns, beat.monotonic_ns, clock)

    def relayed_beat(self, beat: ChildBeat, clock: tuple[int, int] | None = None) -> None:
        """Note the same of a heartbeat that a relay brought."""
        self._noted(beat.in_flight, beat.cpu_permille, beat.memory_bytes, beat.machine_cpu_permille)
        self._began(beat.began_ns, beat.monotonic_ns, clock)

    def _noted(self, in_flight: int, cpu: int, memory: int, machine_cpu: int) -> None:
        self.in_flight, self.cpu_permille, self.memory_bytes = in_flight, cpu, memory
        self.machine_cpu_permille = machine_cpu
        self.cpu_permille_max = max(self.cpu_permille_max, cpu)
        self.memory_bytes_max = max(self.memory_bytes_max, memory)

    def _began(self, began_ns: int, now_ns: int, clock: tuple[int, int] | None) -> None:
        if clock is not None and began_ns and (self.began_ns is None or began_ns < self._began_there_ns):
            ahead_ns, known_ns = clock
            self.began_known_ns = known_ns + drift_ns(now_ns - began_ns)
            self._began_there_ns, self.began_ns = began_ns, began_ns - ahead_ns

    def mismatches(self) -> list[str]:
        """Return the series whose totals, as the agent's Final has them, differ from what was merged from it.

        Of an agent behind a relay only the sums over all its series are known here, and so only whether they differ.
        """
        final, totals = self.final_totals or {}, self.totals
        if self.relayed_sums is not None:
            said, merged = sums_of(final), self.relayed_sums.plus(sums_of(totals))
            return [] if said == merged else [f"all series together: agent {said.n} samples, merged {merged.n}"]
        if final == totals:
            return []
        wrong = [key for key in {*final, *totals} if final.get(key) != totals.get(key)]
        return [
            f"{' / '.join(part for part in key[:3] if part)} ({key.phase or 'all'}, {key.outcome}, {key.measure}):"
            f" agent {_said(final.get(key))}, merged {_said(totals.get(key))}"
            for key in sorted(wrong)
        ]

    def lag_us_p99(self) -> int | None:
        """Return the 99th percentile of the event-loop lag in microseconds, None without readings."""
        histogram = Histogram()
        for lag in self.lags:
            histogram.add(lag)
        return histogram.quantile(0.99)


def _said(totals: SeriesTotals | None) -> str:
    return f"{totals.n} samples" if totals is not None else "nothing"
