"""The run's state machine when it takes down what set-up made, in virtual time."""

from __future__ import annotations

from loadproof_controller import messages as m
from loadproof_controller.machine import events as ev
from machine_driver import Driver


def test_teardown_goes_to_another_agent_when_the_first_is_lost() -> None:
    """It is attempted at least once, by the agent of set-up first, then by any other."""
    drive = Driver()
    drive.start()
    drive.final("a0")
    drive.final("a1")
    drive.feed(ev.AgentDetached("a0", 1))
    assert len(drive.messages(m.Teardown, "a1")) == 1
    drive.feed(ev.TeardownDone("a1", 1))
    assert drive.end().status == "finished"


def test_a_teardown_that_hangs_is_given_up_and_said_so() -> None:
    """Each agent has its time for teardown; then the run ends anyway."""
    drive = Driver(agents=1)
    drive.start()
    drive.final("a0")
    drive.tick(61)
    assert drive.end().status == "finished"
    assert "did not end in time" in drive.records("teardown_failed")[0].text
