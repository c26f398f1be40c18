"""Which agents saw a kind of failure, and how often: exact counts for a bounded number of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loadproof.metrics.delta import Delta

AGENTS_MAX: Final = 64
"""Agents that are kept for each kind of failure: the first ones by id. Where one is, all its failures are counted, for
none of the first can be pushed out by fewer; so the sum is the same in any order."""


def merge_agents(a: Mapping[str, int], b: Mapping[str, int]) -> Mapping[str, int]:
    """Return {agent id: failures} of both, of the `AGENTS_MAX` first agents; neither is changed."""
    if not a or not b:
        return a or b
    out = dict(a)
    for agent_id, n in b.items():
        out[agent_id] = out.get(agent_id, 0) + n
    return {agent_id: out[agent_id] for agent_id in sorted(out)[:AGENTS_MAX]} if len(out) > AGENTS_MAX else out


def attribute(delta: Delta, agent_id: str) -> None:
    """Say of every failure in `delta`, which is one's own, that `agent_id` saw it, whatever the delta said."""
    for stats in delta.errors.values():
        stats.agents = {agent_id: stats.count}
