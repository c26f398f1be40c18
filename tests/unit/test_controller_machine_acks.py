"""The machine of a run in time: when agents are acked and looked at, and how long a lost one was silent."""

from __future__ import annotations

import pytest

from loadproof_controller import messages as m
from loadproof_controller.machine import RunMachine
from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.members import Member
from machine_driver import Driver, S


def test_in_a_large_fleet_one_ack_is_for_the_deltas_of_a_pause() -> None:
    """It comes with the next delta after the pause, or when one has waited so long; repetitions are acked at once."""
    drive = Driver(ack_pause_ns=1_500_000_000)
    drive.start()

    def acked(seq: int, after_s: float) -> list[int]:
        out = drive.feed(ev.SnapshotReceived("a0", 1, seq, seq), after_s)
        return [i.message.seq for i in out if isinstance(i, do.Send) and isinstance(i.message, m.SnapshotAck)]

    assert [acked(1, 1), acked(2, 1), acked(3, 1), acked(4, 1), acked(5, 1)] == [[1], [], [3], [], [5]]
    assert acked(5, 0.1) == [5]
    assert acked(7, 0.1) == [5]
    assert acked(6, 0.1) == []
    assert drive.messages(m.SnapshotAck, "a0")[-1].seq == 5
    drive.tick(1.4)
    assert drive.messages(m.SnapshotAck, "a0")[-1].seq == 5
    drive.tick(0.2)
    assert drive.messages(m.SnapshotAck, "a0")[-1].seq == 6


def test_what_is_owed_is_acked_when_the_load_is_over() -> None:
    """Final follows the last ack, and the end of a run waits for it."""
    drive = Driver(ack_pause_ns=1_500_000_000)
    drive.start()
    for _ in range(60):
        drive.beat()
        drive.tick(1)
    for seq in (1, 2):
        drive.feed(ev.SnapshotReceived("a0", 1, seq, seq))
    assert [ack.seq for ack in drive.messages(m.SnapshotAck, "a0")] == [1]
    assert drive.phase == "running"
    drive.tick(1)
    assert drive.phase == "draining"
    drive.tick(0.1)
    drive.feed(ev.SnapshotReceived("a0", 1, 3, 3))
    assert [ack.seq for ack in drive.messages(m.SnapshotAck, "a0")] == [1, 2, 3]


def test_a_lost_agents_silence_is_told_as_long_as_it_was() -> None:
    """Its lease counts from the heartbeat that renewed it, which may not have been the last one."""
    drive = Driver()
    drive.start()
    drive.tick(1.5)
    drive.beat("a1")
    for _ in range(15):
        drive.beat("a0")
        drive.tick(1)
    assert "nothing was heard of it for 14 s" in drive.records("agent_lost")[0].text


def test_agents_are_looked_at_when_the_first_lease_may_be_over_not_at_each_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten thousand agents ten times a second would cost more than all they say; whoever is silent is lost in time."""
    drive, looks = Driver(2), 0
    everyone = RunMachine.everyone.fget
    assert everyone is not None

    def counted(machine: RunMachine) -> list[Member]:
        nonlocal looks
        looks += 1
        found: list[Member] = everyone(machine)
        return found

    monkeypatch.setattr(RunMachine, "everyone", property(counted))
    drive.start()
    drive.beat("a1")
    drive.tick(1)
    began = looks
    for _ in range(100):
        drive.feed(ev.Tick(), 0.1)
        drive.beat("a1")
    assert looks == began
    until_ns = drive.lease_until_ns("a0")
    drive.feed(ev.Tick(), (until_ns - 1 - drive.now) / S)
    assert not drive.lost("a0")
    drive.feed(ev.Tick(), 0.1)
    assert (drive.lost("a0"), drive.lost("a1")) == (True, False)
