"""How long the run's machine waits for agents: for their end, and for those that have just come back."""

from __future__ import annotations

from loadproof_controller.machine import events as ev
from machine_driver import Driver, S


def test_an_agent_without_final_is_lost_when_the_time_to_collect_is_over() -> None:
    """No Final = incomplete, also for an agent that keeps sending heartbeats."""
    drive = Driver(graceful_stop_ns=5 * S)
    drive.start()
    for _ in range(90):
        drive.beat()
        drive.tick(1)
        if drive.phase in {"running", "draining"}:
            continue
        drive.final("a0")
    assert drive.machine.members["a1"].lost
    assert "did not report the end" in drive.records("agent_lost")[0].text


def test_an_agent_that_is_back_is_not_lost_again_before_it_can_have_been_heard() -> None:
    """Its old lease is over, its first heartbeat on the way: it returned once. If none comes, it is lost again."""
    drive = Driver()
    drive.start()
    drive.feed(ev.AgentDetached("a1", 1))
    for _ in range(20):
        drive.beat("a0")
        drive.tick(1)
    assert drive.lost("a1")
    drive.feed(ev.AgentAttached("a1", 1, workers=2, weight=2000))
    drive.tick(2)
    assert not drive.lost("a1")
    drive.beat()
    drive.tick(2)
    assert [len(drive.records(kind)) for kind in ("agent_lost", "agent_returned")] == [1, 1]
    drive.feed(ev.AgentDetached("a1", 1))
    for _ in range(20):
        drive.beat("a0")
        drive.tick(1)
    drive.feed(ev.AgentAttached("a1", 1, workers=2, weight=2000))
    for _ in range(8):
        drive.beat("a0")
        drive.tick(1)
    assert drive.lost("a1")


def test_an_agent_that_goes_on_handing_over_what_it_holds_is_waited_for() -> None:
    """On a slow link that takes longer than the time to collect; each part that comes gives it that time again."""
    drive = Driver(graceful_stop_ns=5 * S)
    drive.start()
    for number in range(1, 101):
        drive.beat()
        drive.tick(1)
        if number % 10 == 0:
            drive.feed(ev.SnapshotReceived("a1", 1, number // 10, number // 10))
    drive.final("a0")
    assert drive.phase == "collecting"
    assert not drive.machine.members["a1"].lost
    drive.final("a1", last_seq=10)
    assert drive.machine.members["a1"].final
    assert drive.phase == "teardown"


def test_an_agent_that_never_stops_handing_over_is_given_up() -> None:
    """Parts that come give time up to twenty times the limit, so no agent keeps a run from its end."""
    drive = Driver(graceful_stop_ns=5 * S)
    drive.start()
    seconds = 0
    while not drive.machine.members["a1"].lost:
        seconds += 1
        drive.beat()
        drive.tick(1)
        drive.feed(ev.SnapshotReceived("a1", 1, seconds, seconds))
        if drive.phase == "collecting":
            drive.final("a0")
    assert 360 <= seconds <= 370
    assert "did not report the end" in drive.records("agent_lost")[0].text
