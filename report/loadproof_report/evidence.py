"""How far the run's numbers may be trusted. Each finding has a code, a severity and a plain sentence.

`unsound` findings cap the verdict at NOT PROVEN; `degraded` ones are shown beside the numbers; `info` is for the
record. The thresholds are the constants below and in `generator`, documented in `docs/explanation/evidence.md`.
What the *target* does (in-flight drops, failures) is never a finding against the evidence: rules and risks judge it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from loadproof.plan.model import NS_PER_S, UserPhase
from loadproof_report.datasets import data_findings
from loadproof_report.generator import finding, generator_findings
from loadproof_report.result import DeliveryResult, Evidence, Finding, FindingSeverity, RuleResult
from loadproof_report.rundata import AgentInfo, RunData, RunEvent
from loadproof_report.text import clean, clock_text, count_text, duration_text, plural, share_text, some, were

MISSED_LOST_SHARE_MAX = 0.01
"""Arrivals the generator never started, or whose outcome is unknown, of those planned."""
LATE_SHARE_MAX = 0.01
"""Arrivals started more than 100 ms after their time, of those started."""
MISSING_SECONDS_SHARE_MAX = 0.01
"""Seconds with planned arrivals and no report at all, of the run's seconds."""
CLOCK_UNCERTAINTY_US = 50_000
"""Agents whose clock is known less well than this may start their part early or late by as much."""
START_SKEW_US = 100_000
"""Agents that began further apart than this put the load's first moments on the target in the wrong order."""

WORKER_ENDS = {
    "worker_blocked": "did not react any more and had to be killed",
    "worker_crashed": "crashed",
    "worker_exited": "ended by itself",
    "worker_memory": "used too much memory and had to be killed",
}
WORKER_FINDINGS_MAX = 10

GENERATOR_CODES = frozenset({"late_starts", "generator_cpu", "loop_lag"})
"""Findings that can explain a latency: the load generator itself was slow."""


def evidence_of(data: RunData, delivery: DeliveryResult) -> Evidence:
    """Return every finding, worst first. `delivery` is the sum over all transactions."""
    skew = start_skew_us(data.fleet)
    findings = [
        *_delivery(data, delivery),
        *_agents(data),
        *_workers(data),
        *generator_findings(data),
        *_seconds(data),
        *data_findings(data),
        *_clock(data),
        *_skew(data, skew),
        *_stopped(data, delivery),
    ]
    order = {"unsound": 0, "degraded": 1, "info": 2}
    findings.sort(key=lambda finding: order[finding.severity])
    return Evidence(
        sound=not any(f.severity == "unsound" for f in findings),
        findings=tuple(findings),
        start_skew_us=None if skew is None else skew[0],
        start_skew_uncertainty_us=None if skew is None else skew[1],
    )


def start_skew_us(fleet: Iterable[AgentInfo]) -> tuple[int, int] | None:
    """Return how far apart the first and the last agent began, and how well that is known; None for fewer than two.

    Where the clocks of agents in between are known badly, one of them may have been the first or the last.
    """
    began = [(a.start_offset_us, a.start_uncertainty_us or 0) for a in fleet if a.start_offset_us is not None]
    if len(began) < 2:
        return None
    skew = max(began)[0] - min(began)[0]
    latest = sorted(enumerate(began), key=lambda one: sum(one[1]))[-2:]
    earliest = sorted(enumerate(began), key=lambda one: one[1][0] - one[1][1])[:2]
    most = max(sum(a) - (b[0] - b[1]) for i, a in latest for j, b in earliest if i != j)
    return skew, most - skew


def _delivery(data: RunData, delivery: DeliveryResult) -> list[Finding]:
    out: list[Finding] = []
    planned = delivery.planned
    what = "arrivals" if data.plan.model == "open" else "iterations"
    if not delivery.completed:
        out.append(finding("no_load", "unsound", "No transaction was completed, so there is nothing to judge.", 0))
    if planned:
        gone = delivery.missed + delivery.lost
        share = gone / planned
        if gone:
            parts = [f"{count_text(delivery.missed)} {were(delivery.missed)} never started"] if delivery.missed else []
            parts += [f"{count_text(delivery.lost)} {were(delivery.lost)} never reported back"] if delivery.lost else []
            text = f"Of {count_text(planned)} planned {what}, {' and '.join(parts)} ({share_text(share)})."
            text += _agents_gone(data)
            bad = share > MISSED_LOST_SHARE_MAX
            out.append(finding("missed_or_lost", "unsound" if bad else "info", text, share, MISSED_LOST_SHARE_MAX))
        extra = delivery.started + delivery.dropped + delivery.missed - planned
        if extra > 0 and data.plan.model == "open":
            text = f"{plural(extra, 'arrival')} more than planned {were(extra)} reported: something was counted twice."
            out.append(finding("over_count", "unsound", text, extra, 0))
    if delivery.started:
        share = delivery.late / delivery.started
        if delivery.late:
            text = (
                f"{share_text(share)} of the starts ({count_text(delivery.late)} of {count_text(delivery.started)}) "
                "came over 100 ms late: the load generator could not keep its timetable."
            )
            severity: FindingSeverity = "unsound" if share > LATE_SHARE_MAX else "info"
            out.append(finding("late_starts", severity, text, share, LATE_SHARE_MAX))
    unfinished = delivery.started - delivery.completed
    if unfinished > 0 and delivery.started:
        share = unfinished / delivery.started
        text = f"Of {count_text(delivery.started)} started {what}, {count_text(unfinished)} ({share_text(share)}) "
        text += f"{'has' if unfinished == 1 else 'have'} no reported end."
        bad = share > MISSED_LOST_SHARE_MAX
        out.append(finding("unfinished", "unsound" if bad else "info", text, share, MISSED_LOST_SHARE_MAX))
    if delivery.dropped:
        share = delivery.dropped / max(planned, 1)
        text = (
            f"{plural(delivery.dropped, 'arrival')} ({share_text(share)}) found "
            f"{plural(data.plan.max_in_flight, 'transaction')} already in flight and "
            f"{were(delivery.dropped)} dropped: the target was "
            "slower than the load. Rules count them as failed."
        )
        out.append(finding("dropped", "info", text, share))
    return out


def _agents_gone(data: RunData) -> str:
    gone = [agent for agent in data.fleet if agent.lost]
    back = [agent for agent in data.fleet if not agent.lost and agent.lost_at_s is not None]
    return _lost_ones(gone, "") + _lost_ones(back, " and came back")


def _lost_ones(agents: list[AgentInfo], more: str) -> str:
    if not agents:
        return ""
    names = some([clean(agent.agent_id) for agent in agents], 5)
    first = min((agent.lost_at_s for agent in agents if agent.lost_at_s is not None), default=None)
    at = f" at {clock_text(first)}" if first is not None else ""
    if len(agents) == 1:
        return f" Agent {names} was lost{at}{more}."
    return f" Agents {names} were lost{more}, the first{at}."


def _agents(data: RunData) -> list[Finding]:
    out: list[Finding] = []
    for agent in data.fleet:
        name = clean(agent.agent_id)
        if agent.lost:
            at = f" at {clock_text(agent.lost_at_s)}" if agent.lost_at_s is not None else ""
            share = _users_lost_share(data, agent)
            if share > MISSED_LOST_SHARE_MAX:
                text = f"Agent {name} was lost{at}; its users were missing for {share_text(share)} of the planned load."
                out.append(finding("agent_lost", "unsound", text, share, MISSED_LOST_SHARE_MAX))
            else:
                text = f"Agent {name} was lost{at}; what it had not reported by then is counted as lost."
                out.append(finding("agent_lost", "degraded", text, 1))
        elif not agent.final and data.merged.series:
            text = f"Agent {name} never confirmed that its part is complete: some of its numbers may be missing."
            out.append(finding("agent_incomplete", "unsound", text, 1, 0))
    for event in data.events:
        if event.kind == "final_mismatch":
            text = f"Numbers do not agree: {clean(event.text, 500).rstrip('.')}."
            out.append(finding("final_mismatch", "unsound", text, 1, 0))
        elif event.kind == "series_folded":
            text = f"{clean(event.text, 500).rstrip('.')}: give requests with ids in their address a name."
            out.append(finding("series_folded", "info", text, 1, 0))
        elif event.kind == "log_failed":
            text = f"The run's log could not be written: {clean(event.text, 500).rstrip('.')}."
            out.append(finding("log_failed", "degraded", text, 1, 0))
    return out


def _workers(data: RunData) -> list[Finding]:
    """Say which worker processes ended before their time, in which transaction and step; one finding for each place."""
    gone: dict[tuple[str, str, str], list[RunEvent]] = defaultdict(list)
    for event in data.events:
        if event.kind in WORKER_ENDS:
            place = (event.kind, str(event.data.get("transaction", "")), str(event.data.get("step", "")))
            gone[place].append(event)
    out: list[Finding] = []
    for (kind, transaction, step), events in list(gone.items())[:WORKER_FINDINGS_MAX]:
        first = events[0]
        text = f"{plural(len(events), 'worker process', 'worker processes')} {WORKER_ENDS[kind]}"
        if transaction:
            text += f" in {clean(transaction)}" + (f", step {clean(step)}" if step else "")
        text += f", first on agent {clean(first.agent_id)} at {clock_text(max(first.at_s, 0.0))}: "
        text += clean(first.text, 500).rstrip(".") + ". What it had not reported by then is lost."
        out.append(finding("worker_lost", "degraded", text, len(events), 0))
    if len(gone) > WORKER_FINDINGS_MAX:
        more = list(gone.values())[WORKER_FINDINGS_MAX:]
        count = sum(map(len, more))
        text = f"{plural(count, 'more worker process', 'more worker processes')} ended in other places; see the events."
        out.append(finding("worker_lost", "degraded", text, count, 0))
    return out


def _users_lost_share(data: RunData, agent: AgentInfo) -> float:
    """In the closed model nobody knows how many iterations a lost agent would have run: its share of users is taken."""
    if data.plan.model == "open" or agent.lost_at_s is None or not data.shards:
        return 0.0
    whole = data.duration_ns / NS_PER_S
    if whole <= 0:
        return 0.0
    left = max(0.0, whole - agent.lost_at_s) / whole
    return min(1.0, left * len(agent.shards) / data.shards)


def _seconds(data: RunData) -> list[Finding]:
    if data.plan.model != "open" or not data.planned_seconds:
        return []
    planned: dict[int, int] = defaultdict(int)
    for (second, _), count in data.planned_seconds.items():
        planned[second] += count
    width = data.merged.seconds_width_s
    spoken = {
        inside
        for (second, _), stats in data.merged.seconds.items()
        if stats.started or stats.dropped or stats.missed
        for inside in range(second, second + width)
    }
    wanted = [second for second, count in planned.items() if count]
    # A start may slip into the next second, so a second counts as missing when its successor is silent as well.
    silent = [second for second in wanted if second not in spoken and second + 1 not in spoken]
    if not silent:
        return []
    share = len(silent) / len(wanted)
    text = (
        f"{plural(len(silent), 'second')} of {count_text(len(wanted))} with planned arrivals left no trace "
        f"(first at {clock_text(min(silent))})."
    )
    bad = share > MISSING_SECONDS_SHARE_MAX
    return [finding("missing_seconds", "unsound" if bad else "info", text, share, MISSING_SECONDS_SHARE_MAX)]


def _clock(data: RunData) -> list[Finding]:
    known = [a for a in data.fleet if (a.clock_uncertainty_us or 0) > CLOCK_UNCERTAINTY_US]
    if not known:
        return []
    worst = max(known, key=lambda agent: agent.clock_uncertainty_us or 0)
    value = worst.clock_uncertainty_us or 0
    text = (
        f"The clock of agent {clean(worst.agent_id)} is known to {duration_text(value)} only: its share of the load "
        "may have run that much early or late. Latencies are not affected."
    )
    return [finding("clock_uncertain", "degraded", text, value, CLOCK_UNCERTAINTY_US)]


def _skew(data: RunData, skew: tuple[int, int] | None) -> list[Finding]:
    if skew is None or skew[0] <= START_SKEW_US:
        return []
    last = max(data.fleet, key=lambda agent: agent.start_offset_us or 0)
    text = (
        f"Agents began {duration_text(skew[0])} apart (known to {duration_text(skew[1])}), the last was "
        f"{clean(last.agent_id)}: what was due before it began was started late or never, and is counted so."
    )
    return [finding("start_skew", "degraded", text, skew[0], START_SKEW_US)]


def _stopped(data: RunData, delivery: DeliveryResult) -> list[Finding]:
    reason = f": {clean(data.abort_reason)}" if data.abort_reason else ""
    reason = reason.rstrip(".") + "."
    if data.status == "failed":
        return [finding("run_failed", "unsound", f"The run ended by a fault of the test set-up{reason}", 1, 0)]
    if data.status == "aborted" and data.aborted_by == "infrastructure":
        return [finding("run_failed", "unsound", f"The run was broken off by the test set-up{reason}", 1, 0)]
    if data.status == "aborted" and data.aborted_by != "rule":
        planned = data.plan.duration_ns
        share = data.duration_ns / planned if planned else 0.0
        part = f" after {share_text(min(1.0, share))} of the planned time" if planned else ""
        if data.abort_reason == "stopped by a person":  # the plain reason says nothing more
            reason = "."
        return [finding("stopped_by_person", "unsound", f"The run was stopped by a person{part}{reason}", share, 1)]
    iterations = [p.iterations for p in data.plan.phases if isinstance(p, UserPhase) and p.iterations is not None]
    if iterations and data.status == "finished" and delivery.started < sum(iterations):
        text = f"Only {count_text(delivery.started)} of {count_text(sum(iterations))} planned iterations were started."
        share = 1 - delivery.started / sum(iterations)
        bad = share > MISSED_LOST_SHARE_MAX
        return [finding("short_run", "unsound" if bad else "info", text, share, MISSED_LOST_SHARE_MAX)]
    return []


def expired_waivers(rules: Iterable[RuleResult]) -> list[Finding]:
    """Return a finding for every waiver whose last day has passed: it is not in use."""
    found = {(rule.require, rule.waiver.until) for rule in rules if rule.waiver is not None and not rule.waiver.active}
    return [
        finding("waiver_expired", "info", f"The waiver for {require} expired on {until} and is not in use.", 1)
        for require, until in sorted(found)
    ]
