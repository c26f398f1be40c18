"""Who holds which shards until when. A shard is granted anew only after nobody can still hold the old grant.

A lease lasts from the agent's own heartbeat: the controller counts from that heartbeat's *arrival*, which is later, so
its idea of the end is never before the agent's. That needs no agreement between clocks, only that both run at about
the same speed.
"""

from __future__ import annotations

from collections.abc import Iterable

from loadproof_controller.machine.config import MachineConfig
from loadproof_controller.machine.members import Member
from loadproof_controller.messages import Lease, ShardGrant, UserDraws
from loadproof_controller.sharding import deal

NS_PER_MS = 1_000_000
RENEWALS = 6
"""A lease is renewed at most this often while it lasts (five times where heartbeats come each second or each third),
not at each heartbeat: in a large fleet every message counts. To an agent without anything to report it is also the
controller's word, without which it stops its load after the grace time.
"""


class LeaseBook:
    """Grants, renews and re-deals the shards of one run."""

    __slots__ = ("_config", "_draws", "_shard_count", "fence")

    def __init__(self, config: MachineConfig) -> None:
        self._config = config
        self._draws: dict[tuple[int, int], int] = {}
        self._shard_count = 1
        self.fence = config.first_fence - 1

    def deal_all(self, members: Iterable[Member], shard_count: int) -> None:
        """Give every shard of the plan to `members` by capacity, under a new fence."""
        self.fence += 1
        self._shard_count = shard_count
        holders = {member.agent_id: member for member in members}
        dealt = deal(range(shard_count), {name: member.weight for name, member in holders.items()})
        for name, shards in dealt.items():
            self._grant(holders[name], tuple(ShardGrant(shard) for shard in shards))

    def renew(self, member: Member, now_ns: int) -> Lease:
        """Extend the member's lease from its newest heartbeat and return the message that says so."""
        heard = member.heartbeat_ns if member.heartbeat_ns is not None else now_ns
        member.lease_until_ns = max(member.lease_until_ns or 0, heard + self._config.lease_ns)
        member.renew_at_ns = heard + min(self._config.lease_ns, self._config.orphan_grace_ns) // RENEWALS
        return Lease(
            run_id=self._config.run_id,
            fence=member.fence,
            shards=member.grants,
            duration_ms=self._config.lease_ns // NS_PER_MS,
            echo_ns=member.heartbeat_clock_ns,
        )

    def redeal(self, lost: Member, receivers: Iterable[Member], offset_ns: int) -> int:
        """Move the shards of `lost` to `receivers`, each from its first arrival intended at or after `offset_ns`.

        The caller has made sure that the old lease is over. Returns that first arrival's number (0 in the closed model,
        where users continue after their reserved draws).
        """
        self.fence += 1
        before = self._config.arrivals_before
        first_k = 0 if before is None else before(offset_ns)
        old_k = {grant.shard: grant.first_k for grant in lost.grants}
        holders = {member.agent_id: member for member in receivers}
        shards = [grant.shard for grant in lost.grants]
        dealt = deal(shards, {name: member.weight for name, member in holders.items()})
        draws = self._draws_by_shard(frozenset(shards))
        lost.forfeited += _total(found for mine in draws.values() for found in mine)
        lost.forfeited -= _total(found for grant in lost.grants for found in grant.draws)
        for name, more in dealt.items():
            grants = tuple(ShardGrant(shard, max(first_k, old_k[shard]), draws.get(shard, ())) for shard in more)
            self._grant(holders[name], holders[name].grants + grants)
        lost.grants = ()
        lost.fence = self.fence
        lost.fenced = True
        return first_k

    def reserve(self, member: Member, draws: Iterable[UserDraws]) -> tuple[UserDraws, ...]:
        """Remember what users of the shards that `member` holds have reserved, and return that; never takes back."""
        held = {grant.shard for grant in member.grants}
        known = tuple(draw for draw in draws if draw.user % self._shard_count in held)
        self._remember(known)
        return known

    def _remember(self, draws: Iterable[UserDraws]) -> None:
        for draw in draws:
            key = (draw.user, draw.dataset)
            self._draws[key] = max(self._draws.get(key, 0), draw.draws)

    def recall(self, fence: int, shard_count: int, draws: Iterable[UserDraws]) -> None:
        """Go on behind `fence` after a restart, with the reservations the log has."""
        self.fence = max(fence, self.fence)
        self._shard_count = max(shard_count, 1)
        self._remember(draws)

    def _grant(self, member: Member, grants: tuple[ShardGrant, ...]) -> None:
        member.grants = grants
        member.shards_held.update(grant.shard for grant in grants)
        member.fence = self.fence
        member.fenced = member.spare = False

    def _draws_by_shard(self, shards: frozenset[int]) -> dict[int, tuple[UserDraws, ...]]:
        by_shard: dict[int, list[UserDraws]] = {}
        for (user, dataset), draws in sorted(self._draws.items()):
            shard = user % self._shard_count
            if shard in shards:
                by_shard.setdefault(shard, []).append(UserDraws(user, dataset, draws))
        return {shard: tuple(found) for shard, found in by_shard.items()}


def _total(draws: Iterable[UserDraws]) -> int:
    return sum(draw.draws for draw in draws)
