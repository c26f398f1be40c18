"""Numbers of the controller and of its latest run, for monitoring systems; written out by `prometheus` and `otlp`.

Histograms are made from the merged ones: exact to their resolution of 0.1 %, for any number of agents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from loadproof.histogram import Histogram
from loadproof.metrics import Measure, MergedState, Outcome
from loadproof_controller.fleet_service import FleetService
from loadproof_controller.web.hub import Hub

Kind = Literal["gauge", "counter", "histogram"]
Labels = tuple[tuple[str, str], ...]
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
OUTCOMES: tuple[Outcome, ...] = ("ok", "failed")
TRANSACTIONS_MAX = 100
AGENTS_MAX = 1_024


@dataclass(frozen=True, slots=True)
class Distribution:
    """Samples at or below each of `BOUNDS_S`, all of them, and their sum in seconds."""

    at_or_below: tuple[int, ...]
    count: int
    sum_s: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric and its points by labels. Names are Prometheus's, units last."""

    name: str
    kind: Kind
    about: str
    points: tuple[tuple[Labels, float | Distribution], ...]


def families(service: FleetService, hub: Hub) -> list[Family]:
    """Return everything, now."""
    return [*_house(service), *_fleet(service), *_run(hub)]


def _house(service: FleetService) -> Iterator[Family]:
    states = Counter(entry.state for entry in service.runs(1_000))
    points = tuple(
        ((("state", state),), float(states.get(state, 0)))
        for state in ("queued", "running", "finished", "aborted", "failed")
    )
    yield Family("loadproof_runs", "gauge", "Runs this controller knows, at most the newest 1,000, by state.", points)


def _fleet(service: FleetService) -> Iterator[Family]:
    agents = service.fleet()[:AGENTS_MAX]
    yield Family("loadproof_agents_attached", "gauge", "Agents attached.", (((), float(len(agents))),))

    def each(name: str, about: str, value: Any) -> Family:
        return Family(name, "gauge", about, tuple(((("agent", a.agent_id),), float(value(a))) for a in agents))

    yield each("loadproof_agent_workers", "Worker processes.", lambda a: a.workers)
    yield each("loadproof_agent_busy", "Whether the agent works for a run: 1 or 0.", lambda a: bool(a.run_id))
    yield each("loadproof_agent_capacity_ratio", "Measured capacity of a worker.", lambda a: a.capacity_permille / 1e3)
    yield each(
        "loadproof_agent_clock_offset_seconds", "Its clock less the controller's.", lambda a: a.clock_offset_us / 1e6
    )


COUNTERS = {
    "planned": "Arrivals due so far (closed model: iterations started).",
    "started": "Transactions started.",
    "completed": "Transactions completed, failed ones included.",
    "failed": "Transactions failed.",
    "late": "Transactions started over 100 ms after their time.",
    "dropped": "Arrivals dropped because too many were in flight: the target's doing.",
    "missed": "Arrivals the generator missed.",
}


def _run(hub: Hub) -> Iterator[Family]:
    """Yield the run that is on, or the last one, until the next begins."""
    runner = hub.latest
    if runner is None:
        return
    state = hub.latest_state
    run = state["run"]
    base: Labels = (("run_id", run["run_id"]), ("suite", run["suite"]), ("profile", run["profile"]))
    info = (*base, ("build", run["build"]), ("state", run["state"]))
    yield Family("loadproof_run_info", "gauge", "The latest run.", ((info, 1.0),))
    yield Family("loadproof_run_in_flight", "gauge", "Transactions running.", ((base, float(state["in_flight"])),))
    yield Family("loadproof_run_agents_lost", "gauge", "Agents lost.", ((base, float(state["agents"]["lost"])),))
    yield Family("loadproof_run_rules_broken", "gauge", "Rules broken so far.", ((base, float(len(state["broken"]))),))
    rows = state["transactions"][:TRANSACTIONS_MAX]
    for name, about in COUNTERS.items():
        points = tuple(((*base, ("transaction", row["name"])), float(row[name])) for row in rows)
        yield Family(f"loadproof_transactions_{name}_total", "counter", about, points)
    names = [row["name"] for row in rows]
    yield _histograms(
        "loadproof_response_seconds", "Time from the intended start.", "response", runner.merged, names, base
    )
    yield _histograms("loadproof_service_seconds", "Time from the actual start.", "service", runner.merged, names, base)
    health = state["fleet"][:AGENTS_MAX]

    def each(name: str, about: str, key: str, scale: float = 1.0) -> Family:
        points = tuple(((*base, ("agent", row["agent_id"])), (row[key] or 0) * scale) for row in health)
        return Family(name, "gauge", about, points)

    yield each("loadproof_run_agent_cpu_ratio", "Share of a core its busiest worker uses.", "cpu")
    yield each("loadproof_run_agent_loop_lag_seconds", "Event loop lag, 99th percentile.", "lag_us", 1e-6)
    yield each("loadproof_run_agent_memory_bytes", "Memory of its largest worker.", "memory_bytes")


def _histograms(name: str, about: str, measure: Measure, merged: MergedState, names: list[str], base: Labels) -> Family:
    points = []
    for transaction in names:
        for outcome in OUTCOMES:
            histogram = merged.histogram(transaction, outcome=outcome, measure=measure)
            labels = (*base, ("transaction", transaction), ("outcome", outcome))
            points.append((labels, distribution(histogram)))
    return Family(name, "histogram", about, tuple(points))


def distribution(histogram: Histogram) -> Distribution:
    """Return a merged histogram of microseconds in the fixed buckets of `BOUNDS_S`."""
    below = tuple(histogram.count_at_or_below(int(bound * 1e6)) for bound in BOUNDS_S)
    return Distribution(below, histogram.n, histogram.total_us / 1e6)
