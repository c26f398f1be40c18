"""Which role may call which method. What is not in a table is refused, so that a new method is closed until listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["agent", "relay", "operator", "viewer"]
ROLES: tuple[Role, ...] = ("agent", "relay", "operator", "viewer")
JOINING: frozenset[Role] = frozenset({"agent", "relay"})
"""Roles whose tokens are for joining only."""

RUNS = "/loadproof.v1.RunService/"
ENROLL = "/loadproof.v1.EnrollService/"
AGENT = "/loadproof.v1.AgentService/"
RELAY = "/loadproof.v1.RelayService/"

OPERATIONS_TABLE: Mapping[str, frozenset[Role]] = {
    ENROLL + "Enroll": JOINING,
    RUNS + "Submit": frozenset({"operator"}),
    RUNS + "StopRun": frozenset({"operator"}),
    RUNS + "CreateToken": frozenset({"operator"}),
    RUNS + "ListTokens": frozenset({"operator"}),
    RUNS + "RevokeToken": frozenset({"operator"}),
    RUNS + "Watch": frozenset({"operator", "viewer"}),
    RUNS + "ListRuns": frozenset({"operator", "viewer"}),
    RUNS + "ListFleet": frozenset({"operator", "viewer"}),
}
"""Methods of the port for people, pipelines and joining agents; the caller is known by its token."""

AGENTS_TABLE: Mapping[str, frozenset[Role]] = {
    AGENT + "Attach": frozenset({"agent"}),
    AGENT + "FetchBundle": JOINING,
    RELAY + "Relay": frozenset({"relay"}),
    ENROLL + "Renew": JOINING,
}
"""Methods of the agents' port; the caller is known by its client certificate, which TLS has verified."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: by token (`token_id`, `name`), or an agent by its certificate."""

    role: Role
    name: str
    token_id: str


def refusal(table: Mapping[str, frozenset[Role]], method: str, caller: Caller | None) -> str | None:
    """Return why `caller` may not call `method`, None when it may. None as caller is somebody unknown."""
    roles = table.get(method, frozenset())
    role = "agent" if roles & JOINING else "operator"
    remedy = f"; an operator makes one that may: `loadproof token create --role {role}`" if roles else ""
    if caller is None:
        return f"not authorised: the token is missing, wrong, expired or revoked{remedy}"
    if caller.role not in roles:
        return f"a token with the role {caller.role} may not do this{remedy}"
    return None
