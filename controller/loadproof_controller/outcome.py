"""Puts together what a finished run hands to the report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from loadproof.metrics import MergedState
from loadproof.metrics.fold import CAP
from loadproof_controller.accounting import account
from loadproof_controller.fleet import AgentLink
from loadproof_controller.ledger import AgentBook, EventBook, Noted
from loadproof_controller.machine import RunMachine
from loadproof_controller.machine.instructions import EndRun
from loadproof_controller.machine.members import Member
from loadproof_controller.request import RunRequest
from loadproof_report.rundata import AgentInfo, RunData

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known when a run is over. Moments by the controller's clock; `began_at` is UTC."""

    request: RunRequest
    machine: RunMachine
    merged: MergedState
    events: EventBook
    books: dict[tuple[str, int], AgentBook]
    links: dict[str, AgentLink]
    end: EndRun
    began_ns: int
    began_at: datetime
    now_ns: int
    tool_version: str


def run_data(facts: Facts) -> RunData:
    """Return the run's data; names beyond the cap are folded."""
    machine, request = facts.machine, facts.request
    start_ns = machine.start_ns
    ended_ns = machine.load_ended_ns or facts.now_ns
    sums = account(request.plan, facts.merged, started=start_ns is not None, until_ns=machine.stop_offset_ns)
    if sums.late_stops:
        text = f"{sums.late_stops} arrivals were started after the run was cut short: the order took its time"
        facts.events.note(Noted(facts.now_ns, "late_stop", text, data={"count": sums.late_stops}))
    if sums.overcount:
        text = f"{sums.overcount} arrivals more were reported than the plan has"
        facts.events.note(Noted(facts.now_ns, "overcount", text, data={"count": sums.overcount}))
    _say_what_was_forfeited(facts)
    folded = facts.merged.fold()
    if folded:
        text = f"{folded} names of steps and endpoints beyond the {CAP} most used are counted under (other)"
        facts.events.note(Noted(facts.now_ns, "series_folded", text, data={"count": folded}))
    lead = timedelta(microseconds=((start_ns or facts.began_ns) - facts.began_ns) // 1_000)
    return RunData(
        run_id=request.run_id,
        suite=request.plan.suite,
        profile=request.plan.profile,
        status=facts.end.status,
        started_at=(facts.began_at + lead).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        duration_ns=max(ended_ns - start_ns, 0) if start_ns is not None else 0,
        tool_version=facts.tool_version,
        plan=request.plan,
        shards=machine.shard_count,
        build=request.build,
        environment=request.environment,
        bundle=request.bundle_info,
        merged=facts.merged,
        planned=sums.planned,
        planned_seconds=sums.planned_seconds,
        fleet=tuple(_agent(facts, member) for member in [*machine.regulars, *machine.departed]),
        rules=request.rules,
        events=facts.events.all(start_ns if start_ns is not None else facts.now_ns, facts.now_ns),
        aborted_by=facts.end.aborted_by,
        abort_reason=facts.end.reason,
        warnings=request.warnings,
    )


def _say_what_was_forfeited(facts: Facts) -> None:
    """Count what users of lost agents had reserved and did not report: nobody runs that any more."""
    for member in facts.machine.everyone:
        book = facts.books.get((member.agent_id, member.epoch), AgentBook())
        lost = member.forfeited - book.started
        if lost > 0:
            most = "" if book.started_known else "up to "  # a relay of an earlier version does not say who began what
            text = (
                f"{most}{lost} iterations that users of agent {member.agent_id} had reserved and did not report are"
                " left out: those who took the users over went on behind them"
            )
            facts.events.note(Noted(facts.now_ns, "iterations_lost", text, member.agent_id, {"count": lost}))


def _agent(facts: Facts, member: Member) -> AgentInfo:
    link = facts.links.get(member.agent_id)
    hello, clock = (link.hello, link.clock) if link is not None else (None, None)
    book = facts.books.get((member.agent_id, member.epoch), AgentBook())
    start_ns, lost_at_s, start_offset_us, start_known_us = facts.machine.start_ns, None, None, None
    if start_ns is not None and book.began_ns is not None and not member.late:
        start_offset_us = (book.began_ns - start_ns) // 1_000
        start_known_us = _us_up(book.began_known_ns)
    if member.lost_ns is not None and start_ns is not None:
        lost_at_s = (member.lost_ns - start_ns) / NS_PER_S
    return AgentInfo(
        agent_id=member.agent_id,
        pid=hello.pid if hello else 0,
        host=hello.host if hello else "",
        cores=hello.cores if hello else 0,
        workers=member.workers,
        version=hello.version if hello else "",
        python=hello.python if hello else "",
        labels=hello.labels if hello else {},
        lost=member.lost or member.refused,
        lost_at_s=lost_at_s,
        final=member.final,
        shards=tuple(sorted(member.shards_held)),
        clock_offset_us=clock.offset_ns // 1_000 if clock else None,
        clock_uncertainty_us=_us_up(clock.uncertainty_ns) if clock else None,
        start_offset_us=start_offset_us,
        start_uncertainty_us=start_known_us,
        cpu_max_permille=book.cpu_permille_max,
        memory_bytes_max=book.memory_bytes_max,
        loop_lag_us_p99=book.lag_us_p99(),
    )


def _us_up(ns: int) -> int:
    return -(-ns // 1_000)
