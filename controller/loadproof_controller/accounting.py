"""How many arrivals a run was to have: planned = started + dropped + missed + lost, for every transaction and phase."""

from __future__ import annotations

from dataclasses import dataclass

from loadproof.metrics import MergedState
from loadproof.plan import ArrivalSchedule, Plan

Planned = dict[tuple[str, str], int]
PlannedSeconds = dict[tuple[int, str], int]


@dataclass(frozen=True, slots=True)
class Account:
    """Planned arrivals by (transaction, phase) and by (second, transaction).

    `late_stops` counts arrivals started after the run was cut short, by agents the order reached late; they are in
    `planned` too. `overcount` counts arrivals beyond the plan of a run that was not cut short: always 0 unless
    something is wrong.
    """

    planned: Planned
    planned_seconds: PlannedSeconds
    late_stops: int = 0
    overcount: int = 0


def account(plan: Plan, merged: MergedState, *, started: bool, until_ns: int | None) -> Account:
    """Say what was planned until `until_ns` (None: all of it). What nobody accounted for is lost, by subtraction.

    In the closed model what was started is what was planned: iterations have no time of their own.
    """
    if not started:
        return Account({}, {})
    if plan.model == "closed":
        return Account(
            {key: delivery.started for key, delivery in merged.delivery.items()},
            {key: stats.started for key, stats in merged.seconds.items()},
        )
    schedule = ArrivalSchedule(plan)
    planned = dict(schedule.planned(until_ns))
    beyond = 0
    for key, delivery in merged.delivery.items():
        accounted = delivery.started + delivery.dropped + delivery.missed
        excess = accounted - planned.get(key, 0)
        if excess > 0:
            beyond += excess
            if until_ns is not None:
                planned[key] = accounted
    seconds = schedule.planned_seconds(until_ns)
    return Account(
        planned,
        seconds,
        late_stops=beyond if until_ns is not None else 0,
        overcount=0 if until_ns is not None else beyond,
    )
