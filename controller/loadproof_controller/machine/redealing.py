"""What a lost agent held goes to others: to spares that are ready, else to those that work."""

from __future__ import annotations

from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.members import Member
from loadproof_controller.machine.state import RunState


class Redealing(RunState):
    """The part of the run's machine that deals shards again."""

    def _redeal(self, lost: Member) -> None:
        receivers = self._receivers()
        if self.phase != "running" or not receivers or self.start_ns is None:
            return
        shards, waiting = len(lost.grants), [member for member in receivers if member.spare]
        offset_ns = max(self._now + self.config.redeal_lead_ns - self.start_ns, 0)
        first_k = self.leases.redeal(lost, receivers, offset_ns)
        self._touch(lost, *receivers)
        for member in receivers:
            self._out.append(do.Send(member.agent_id, self.leases.renew(member, self._now)))
        for member in waiting:
            self._out.append(do.SendStart(member.agent_id, self.start_ns, self.shared))
        names = ", ".join(sorted(member.agent_id for member in receivers))
        again = "after what their users had reserved" if lost.forfeited else "with their users started again"
        where = f"from arrival {first_k} on" if self.config.arrivals_before else again
        text = f"{shards} shards of agent {lost.agent_id} go to {names} {where}"
        self._record("redealt", text, lost, first_k=first_k, shards=shards, to=names)

    def _reserve_takes_over(self) -> bool:
        """Return whether nobody works any more, and yet what the lost held goes to a spare that is ready."""
        if self.phase != "running" or not self.config.redeals:
            return False
        return any(member.lost and member.grants for member in self.everyone) and bool(self._receivers())

    def _receivers(self) -> list[Member]:
        """Return who may take over shards now: the spares that are ready, or else the others that work."""

        def fresh(member: Member) -> bool:
            heard_ns = member.heartbeat_ns
            return member.attached and heard_ns is not None and self._now < heard_ns + self.config.lease_ns // 2

        members = [member for member in self.members.values() if member.live and fresh(member)]
        spares = [member for member in members if member.spare and member.prepared]
        return spares or [member for member in members if member.working]
