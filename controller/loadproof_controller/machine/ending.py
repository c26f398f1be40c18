"""How a run ends: teardown, attempted at least once wherever set-up was asked for, and the end itself."""

from __future__ import annotations

from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.members import Member
from loadproof_controller.machine.state import RunState
from loadproof_controller.messages import End, Teardown


class Ending(RunState):
    """The part of the run's machine that follows the load."""

    def _teardown(self) -> None:
        if self.start_ns is not None:
            self.load_ended_ns = self._now
        self.phase = "teardown"
        if self._setup_agent is None:  # set-up was never asked for: there is nothing to take down
            self._end()
        else:
            self._teardown_next()

    def _teardown_next(self) -> None:
        """Ask the next agent that may still do it: the one that ran set-up first, each at most once."""
        candidates = sorted(self.members, key=lambda name: (name != self._setup_agent, name))
        for name in candidates:
            if self.members[name].attached and not self.members[name].refused and name not in self._teardown_tried:
                self._teardown_agent = name
                self._teardown_tried.append(name)
                self._deadline_ns = self._now + self.config.teardown_limit_ns
                if self._immediate:
                    self._hurry_teardown()
                self._out.append(do.Send(name, Teardown(self.config.run_id, self.shared)))
                return
        if not self._teardown_tried:
            self._record("teardown_failed", "no agent was left to run teardown")
        self._end()

    def _teardown_again(self, member: Member) -> None:
        """An agent is back in the middle of teardown, or the first one after our own restart."""
        if self._teardown_agent is None:
            self._teardown_next()
        else:
            self._out.append(do.Send(member.agent_id, Teardown(self.config.run_id, self.shared)))

    def _hurry_teardown(self) -> None:
        limit = self._now + self.config.teardown_hurry_ns
        self._deadline_ns = min(self._deadline_ns or limit, limit)

    def _on_teardown_done(self, event: ev.TeardownDone) -> None:
        if self.phase != "teardown" or event.agent_id != self._teardown_agent:
            return
        if event.problem is not None:
            text = f"teardown failed on agent {event.agent_id}: {event.problem.text}"
            self._record("teardown_failed", text, details=event.problem.detail)
        self._end()

    def _end(self) -> None:
        end = self.outcome or do.EndRun("finished")
        self.phase, self._deadline_ns = end.status, None
        for name in sorted(self.members):
            if self.members[name].attached:
                self._out.append(do.Send(name, End(self.config.run_id)))
        self._out.append(end)
