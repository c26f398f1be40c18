"""What of a run's state survives a crash of the controller, as plain data for the run's log, and the way back.

Written before any message that follows from it. Not in it: what the log has anyway (numbers applied, draws reserved),
and what only agents can tell again (streams, heartbeats). Times are the controller's monotonic clock, which goes on
while the machine does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.members import Member
from loadproof_controller.machine.state import BEFORE_LOAD, LOAD, RunState
from loadproof_controller.messages import ShardGrant, UserDraws

RUN_FIELDS = (
    "phase", "shard_count", "start_ns", "stop_offset_ns", "load_ended_ns", "shared", "_setup_agent", "_teardown_agent",
    "_teardown_tried", "_immediate",
)  # fmt: skip
MEMBER_FIELDS = (
    "agent_id", "epoch", "workers", "weight", "local", "prepared", "fence", "fenced", "last_seq", "final", "lost",
    "lost_ns", "refused", "spare", "late", "overdue", "forfeited",
)  # fmt: skip


def remember_run(state: RunState) -> dict[str, Any]:
    """Return the run's own facts."""
    facts: dict[str, Any] = {name: getattr(state, name) for name in RUN_FIELDS}
    facts["_teardown_tried"] = list(state._teardown_tried)
    end = state.outcome
    return facts | {
        "outcome": None if end is None else [end.status, end.aborted_by, end.reason],
        "fence": state.leases.fence,
    }


def remember_member(member: Member) -> dict[str, Any]:
    """Return one agent's facts."""
    facts: dict[str, Any] = {name: getattr(member, name) for name in MEMBER_FIELDS}
    grants = [[g.shard, g.first_k, [[d.user, d.dataset, d.draws] for d in g.draws]] for g in member.grants]
    return facts | {"grants": grants, "shards_held": sorted(member.shards_held)}


def recall(
    state: RunState, run: Mapping[str, Any], members: Iterable[Mapping[str, Any]], draws: Iterable[UserDraws]
) -> None:
    """Bring a fresh `state` to what was remembered; `members` in the order they were first written.

    Nobody is attached. A lease may have been renewed until the very crash, so each is taken to last its full length
    from now. Raises KeyError, TypeError or ValueError on anything that `remember_*` did not write.
    """
    for name in RUN_FIELDS:
        setattr(state, name, run[name])
    end = run["outcome"]
    state.outcome = None if end is None else do.EndRun(*end)
    state.leases.recall(run["fence"], state.shard_count, draws)
    for facts in members:
        member = _member(facts, state)
        older = state.members.get(member.agent_id)
        if older is not None:
            state.departed.append(older)
        state.members[member.agent_id] = member
    _set_deadline(state)


def _member(facts: Mapping[str, Any], state: RunState) -> Member:
    member = Member(**{name: facts[name] for name in MEMBER_FIELDS}, attached=False, detached_ns=state._now)
    member.grants = tuple(
        ShardGrant(shard, first_k, tuple(UserDraws(*draw) for draw in draws))
        for shard, first_k, draws in facts["grants"]
    )
    member.shards_held = set(facts["shards_held"])
    if state.start_ns is not None and not member.spare:
        member.lease_until_ns = state._now + state.config.lease_ns
    return member


def _set_deadline(state: RunState) -> None:
    """The limit of the phase starts anew: agents need time to come back."""
    config, now_ns = state.config, state._now
    state._deadline_ns = None
    if state.phase in BEFORE_LOAD:
        state.outcome = state.outcome or do.EndRun(
            "failed", "infrastructure", f"the controller was restarted before the load began ({state.phase})"
        )
        state.phase = "teardown"
    if state.phase == "teardown":
        state._deadline_ns = now_ns + (config.teardown_hurry_ns if state._immediate else config.teardown_limit_ns)
    elif state.phase in LOAD and state.phase != "running":
        state._deadline_ns = now_ns + config.graceful_stop_ns + config.stop_lead_ns
