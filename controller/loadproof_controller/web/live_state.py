"""A run as its page shows it, as JSON-able data: one that is on from the merged state, one that is over from run.json.

Latencies are integer microseconds in tables and milliseconds in `chart`, whose rows are
[second, planned, started, completed, failed, dropped, lost, p50, p95, p99, service p95] of all transactions together.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from loadproof.histogram import Counts, Histogram
from loadproof.metrics import MergedState, SecondStats
from loadproof_controller.fleet_service import Queued
from loadproof_controller.request import Progress
from loadproof_controller.run_store import RunEntry
from loadproof_controller.runner import Runner
from loadproof_report.html.chartdata import chart_data, milliseconds, whole_column
from loadproof_report.result import AgentResult, Latency, RunResult, TransactionResult

COLUMNS = ("planned", "started", "completed", "failed", "dropped", "lost", "p50", "p95", "p99", "s95")
ERRORS_SHOWN = 15
EVENTS_SHOWN = 50
SAMPLES_SHOWN = 2
SAMPLE_CHARACTERS_MAX = 2_000
LOOK_BACK_S = 120
"""How far back a second may still change: what an agent reports later than this shows when the run is over."""
SETTLE_S = 2
"""The newest seconds are still being reported; they would look like a dip."""
NS_PER_S = 1_000_000_000

Json = dict[str, Any]


def entry_state(entry: RunEntry) -> Json:
    """Return what the controller keeps of a run."""
    return {**dataclasses.asdict(entry), "over": entry.over}


def empty_state(entry: RunEntry) -> Json:
    """Return the state of a run of which nothing was measured (yet)."""
    return {
        "run": entry_state(entry),
        "phase": entry.state,
        "ahead": None,
        "elapsed_s": None,
        "duration_s": None,
        "in_flight": 0,
        "agents": {"attached": 0, "lost": 0, "wanted": entry.agents_wanted},
        "verdict": "",
        "broken": [],
        "reasons": [],
        "transactions": [],
        "errors": [],
        "fleet": [],
        "events": [],
        "phases": [],
        "closed": False,
        "chart": {"w": 1, "rows": []},
    }


def queued_state(entry: RunEntry, queued: Queued) -> Json:
    """Return the state of a run that waits."""
    return {**empty_state(entry), "ahead": queued.ahead}


def live_state(entry: RunEntry, progress: Progress, runner: Runner) -> Json:
    """Return everything but the chart of a run that is on."""
    plan = runner.request.plan
    labels = {transaction.name: transaction for transaction in plan.transactions}
    return {
        "run": entry_state(entry),
        "phase": progress.phase,
        "ahead": None,
        "elapsed_s": None if progress.elapsed_ns is None else progress.elapsed_ns / NS_PER_S,
        "duration_s": None if progress.duration_ns is None else progress.duration_ns / NS_PER_S,
        "in_flight": progress.in_flight,
        "agents": {
            "attached": progress.agents_attached,
            "lost": progress.agents_lost,
            "wanted": progress.agents_wanted,
        },
        "verdict": progress.verdict,
        "broken": list(progress.rules_broken),
        "reasons": [],
        "transactions": [
            {
                "name": row.name,
                "criticality": labels[row.name].criticality,
                "owner": labels[row.name].owner,
                "planned": row.planned,
                "started": row.started,
                "completed": row.completed,
                "failed": row.failed,
                "late": row.late,
                "dropped": row.dropped,
                "missed": row.missed,
                **_latencies(runner.merged, row.name),
            }
            for row in progress.transactions
        ],
        "errors": _errors(runner.merged),
        "fleet": _fleet(runner),
        "events": _events(runner),
        "phases": _phases(runner),
        "closed": plan.model == "closed",
    }


def _latencies(merged: MergedState, name: str) -> Json:
    response = merged.histogram(name, outcome="ok")
    service = merged.histogram(name, outcome="ok", measure="service")
    p50, p95, p99 = response.quantiles([0.5, 0.95, 0.99])
    s50, s95 = service.quantiles([0.5, 0.95])
    return {"p50": p50, "p95": p95, "p99": p99, "max": response.max_us,
            "s50": s50, "s95": s95}  # fmt: skip


def _events(runner: Runner) -> list[Json]:
    zero_ns = runner.machine.start_ns or runner.began_ns
    noted = [one for one in runner.events.noted[-4 * EVENTS_SHOWN :] if one.kind != "log"]
    events = [one.since(zero_ns) for one in noted[-EVENTS_SHOWN:]]
    return [{"at_s": e.at_s, "kind": e.kind, "agent_id": e.agent_id, "text": e.text[:500]} for e in events]


def _phases(runner: Runner) -> list[Json]:
    phases, at = runner.request.plan.phases, 0.0
    shown: list[Json] = []
    for phase in phases:
        length = (phase.duration_ns or 0) / NS_PER_S
        if len(phases) > 1 or phase.warmup:
            shown.append({"name": phase.name[:40], "at": at, "end": at + length, "warmup": phase.warmup})
        at += length
    return shown


def _errors(merged: MergedState) -> list[Json]:
    """Return the most frequent kinds of failure, over all phases."""
    kinds: dict[tuple[str, str, str, str, str], Json] = {}
    for key, stats in merged.errors.items():
        name = (key.transaction, key.step, key.endpoint, key.category, key.message)
        kind = kinds.setdefault(name, {"count": 0, "first": stats.first_ns, "last": stats.last_ns, "samples": []})
        kind["count"] += stats.count
        kind["first"] = min(kind["first"], stats.first_ns)
        kind["last"] = max(kind["last"], stats.last_ns)
        kind["samples"] += stats.samples
    chosen = sorted(kinds.items(), key=lambda item: (-item[1]["count"], item[0]))[:ERRORS_SHOWN]
    return [
        {
            **dict(zip(("transaction", "step", "endpoint", "category", "message"), name, strict=True)),
            "count": kind["count"],
            "first_s": kind["first"] / NS_PER_S,
            "last_s": kind["last"] / NS_PER_S,
            "samples": [
                _sample(s.at_ns / NS_PER_S, s.agent_id, s.trace_id, s.request, s.response, s.detail)
                for s in sorted(kind["samples"], key=lambda sample: sample.rank)[:SAMPLES_SHOWN]
            ],
        }
        for name, kind in chosen
    ]


def _sample(at_s: float, agent_id: str, trace_id: str, request: str, response: str, detail: str) -> Json:
    cut = SAMPLE_CHARACTERS_MAX
    return {"at_s": at_s, "agent": agent_id, "trace": trace_id, "request": request[:cut],
            "response": response[:cut], "detail": detail[:cut]}  # fmt: skip


def _fleet(runner: Runner) -> list[Json]:
    rows: list[Json] = []
    for member in sorted(runner.machine.members.values(), key=lambda member: member.agent_id):
        link = runner.links.get(member.agent_id)
        book = runner.books.get((member.agent_id, member.epoch))
        lag = book.lag_us_p99() if book is not None else None
        state = "working"
        if member.lost or member.refused:
            state = "lost"
        elif member.final:
            state = "complete"
        elif not member.attached:
            state = "away"
        elif member.spare:
            state = "spare"
        rows.append(
            {
                "agent_id": member.agent_id,
                "host": link.hello.host if link else "",
                "about": _about(link.hello.cores, link.hello.version, link.hello.labels) if link else "",
                "state": state,
                "workers": member.workers,
                "shards": len(member.grants),
                "cpu": (book.cpu_permille if book else 0) / 1000,
                "lag_us": lag,
                "memory_bytes": book.memory_bytes if book else 0,
                "in_flight": book.in_flight if book else 0,
                "clock_us": link.clock.offset_ns // 1000 if link else None,
                "clock_uncertainty_us": -(-link.clock.uncertainty_ns // 1000) if link else None,
            }
        )
    return rows


def _about(cores: int, version: str, labels: dict[str, str]) -> str:
    facts = [f"{cores} core{'s' if cores != 1 else ''}", version, *(f"{k}={v}" for k, v in sorted(labels.items()))]
    return " · ".join(fact for fact in facts if fact)


class LiveChart:
    """The seconds of a run that is on. Feed it about each second; it costs as much as the last two minutes."""

    def __init__(self) -> None:
        self.width_s = 1
        self._rows: dict[int, list[Any]] = {}
        self._seen: dict[int, tuple[int, ...]] = {}

    def data(self) -> Json:
        """Return every row."""
        return {"w": self.width_s, "rows": [self._rows[second] for second in sorted(self._rows)]}

    def update(self, runner: Runner, elapsed_s: float, *, over: bool) -> list[list[Any]] | None:
        """Take in what is new; return the rows that changed, None when all of them did (intervals got wider)."""
        merged = runner.merged
        wider = merged.seconds_width_s != self.width_s
        if wider:
            self.width_s = merged.seconds_width_s
            self._rows.clear()
            self._seen.clear()
        from_s = 0 if wider or over or not self._rows else max(0, int(elapsed_s) - LOOK_BACK_S)
        stats = merged.seconds_since(from_s)
        service = merged.service_since(from_s) if merged.intervals_width_s == self.width_s else {}
        by_second: dict[int, list[SecondStats]] = {}
        for (second, _name), one in stats.items():
            by_second.setdefault(second, []).append(one)
        until = int(elapsed_s) if over else int(elapsed_s) - SETTLE_S + 1
        first = from_s // self.width_s * self.width_s
        changed: list[list[Any]] = []
        for second in sorted({*by_second, *range(first, max(first, until), self.width_s)}):
            if second + self.width_s > until and not over:
                continue
            ones = by_second.get(second, [])
            print_ = tuple(
                sum(getattr(one, name) for one in ones)
                for name in ("started", "completed", "failed", "dropped", "late", "missed")
            )
            if self._seen.get(second) == print_:
                continue
            self._seen[second] = print_
            self._rows[second] = row = self._row(runner, second, print_, ones, service.get(second, []))
            changed.append(row)
        return None if wider else changed

    def _row(
        self, runner: Runner, second: int, counts: tuple[int, ...], ones: list[SecondStats], service: list[Counts]
    ) -> list[Any]:
        started, completed, failed, dropped, late, missed = counts
        response = Histogram()
        for one in ones:
            if one.response is not None:
                response.add(one.response)
        served = Histogram()
        for part in service:
            served.add(part)
        closed = runner.request.plan.model == "closed"
        planned = started if closed else runner.planned_between(second, second + self.width_s)
        quantiles = [milliseconds(us) for us in response.quantiles([0.5, 0.95, 0.99])]
        numbers = [planned, started, completed, failed, dropped, late + missed]
        return [second, *numbers, *quantiles, milliseconds(served.quantile(0.95))]


def stored_state(entry: RunEntry, result: RunResult) -> Json:
    """Return the state of a run that is over, from its run.json."""
    return {
        **empty_state(entry),
        "phase": result.status,
        "elapsed_s": result.duration_s,
        "duration_s": result.duration_s,
        "agents": {
            "attached": sum(not agent.lost for agent in result.fleet),
            "lost": sum(agent.lost for agent in result.fleet),
            "wanted": entry.agents_wanted,
        },
        "verdict": result.verdict.decision,
        "broken": [rule.broken_text for rule in result.rules if rule.status == "failed"],
        "reasons": list(result.verdict.reasons[:3]),
        "transactions": [_stored_transaction(transaction) for transaction in result.transactions],
        "errors": _stored_errors(result),
        "fleet": [_stored_agent(agent) for agent in result.fleet],
        "events": [
            {"at_s": e.at_s, "kind": e.kind, "agent_id": e.agent_id, "text": e.text[:500]}
            for e in [e for e in result.events if e.kind != "log"][-EVENTS_SHOWN:]
        ],
        "phases": chart_data(result)["phases"],
        "closed": result.plan.model == "closed",
        "chart": _stored_chart(result),
    }


def _stored_transaction(transaction: TransactionResult) -> Json:
    delivery, response, service = transaction.delivery, transaction.response_time_us, transaction.service_time_us
    return {
        "name": transaction.name,
        "criticality": transaction.criticality,
        "owner": transaction.owner,
        "planned": delivery.planned,
        "started": delivery.started,
        "completed": transaction.count,
        "failed": transaction.failed,
        "late": delivery.late,
        "dropped": delivery.dropped,
        "missed": delivery.missed,
        **_quantiles(response),
        "s50": service.p50,
        "s95": service.p95,
    }


def _quantiles(latency: Latency) -> Json:
    return {"p50": latency.p50, "p95": latency.p95, "p99": latency.p99, "max": latency.max}


def _stored_errors(result: RunResult) -> list[Json]:
    kinds = [(transaction.name, error) for transaction in result.transactions for error in transaction.errors]
    kinds.sort(key=lambda kind: (-kind[1].count, kind[0], kind[1].message))
    return [
        {
            "transaction": name,
            "step": error.step,
            "endpoint": error.endpoint,
            "category": error.category,
            "message": error.message,
            "count": error.count,
            "first_s": error.first_seen_s,
            "last_s": error.last_seen_s,
            "samples": [
                _sample(s.at_s, s.agent_id, s.trace_id, s.request, s.response, s.detail)
                for s in error.samples[:SAMPLES_SHOWN]
            ],
        }
        for name, error in kinds[:ERRORS_SHOWN]
    ]


def _stored_agent(agent: AgentResult) -> Json:
    return {
        "agent_id": agent.agent_id,
        "host": agent.host,
        "about": _about(agent.cores, agent.version, agent.labels),
        "state": "lost" if agent.lost else "complete" if agent.final else "not confirmed",
        "workers": agent.workers,
        "shards": len(agent.shards),
        "cpu": agent.cpu_max,
        "lag_us": agent.loop_lag_us_p99,
        "memory_bytes": agent.memory_bytes_max,
        "in_flight": 0,
        "clock_us": agent.clock_offset_us,
        "clock_uncertainty_us": agent.clock_uncertainty_us,
    }


def _stored_chart(result: RunResult) -> Json:
    data = chart_data(result)
    seconds, series = data["t"], data["series"][0]
    columns = [whole_column(series, name, len(seconds)) for name in COLUMNS]
    return {"w": data["w"], "rows": [[second, *values] for second, *values in zip(seconds, *columns, strict=True)]}
