"""The agent's state machine: events in, instructions out, time a parameter."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.config import Limits
from loadproof_agent.machine import AgentMachine

S = 1_000_000_000
HELLO = r.Hello(1, 2, "hdr-us-3-24h", "a1", 77, version="0.1.0")
PREPARE = r.Prepare("run", b"{}", b"{}", "00", 0, 4)


def encode(payload: Counter[str]) -> bytes:
    return repr(sorted(payload.items())).encode()


class Driver:
    """A machine, its clock, and what it said."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.machine: AgentMachine[Counter[str]] = AgentMachine(
            HELLO, merge=lambda a, b: a + b, encode=encode, limits=limits
        )
        self.now = 1_000 * S

    def __call__(self, event: Any, after_s: float = 0) -> list[Any]:
        self.now += round(after_s * S)
        return self.machine.handle(event, self.now)

    def hear(self, record: Any, after_s: float = 0) -> list[Any]:
        return self(e.Received(record), after_s)

    def attach(self) -> list[Any]:
        self(e.Connected())
        return self.hear(r.Welcome(1, "a1", 1_000, 30_000))

    def running(self) -> Driver:
        self.attach()
        self.hear(PREPARE)
        self(e.Answered(r.PrepareResult("run")))
        self.lease()
        self.hear(r.Start("run", self.now, b"null"))
        return self

    def lease(self, *shards: int, fence: int = 1, echo_ns: int = 0) -> list[Any]:
        grants = tuple(r.ShardGrant(shard) for shard in shards or (0, 1))
        return self.hear(r.Lease("run", fence, grants, 15_000, echo_ns))

    def measure(self, n: int = 1) -> list[Any]:
        return [out for _ in range(n) for out in self(e.Measured("run", Counter({"x": 1})))]


def said(instructions: list[Any], kind: type[Any] | None = None) -> list[Any]:
    records = [out.record for out in instructions if isinstance(out, e.Send)]
    return records if kind is None else [record for record in records if isinstance(record, kind)]


def seqs(instructions: list[Any]) -> list[tuple[int, int]]:
    return [(b.ranges[0].from_seq, b.ranges[0].to_seq) for b in said(instructions, r.SnapshotBlock)]


def ack(seq: int, **changes: Any) -> r.SnapshotAck:
    return dataclasses.replace(r.SnapshotAck("run", "a1", 77, seq), **changes)


# --- attaching --------------------------------------------------------------------------------------------------------


def test_hello_is_first_and_nothing_else_before_welcome() -> None:
    """An agent that is not let in yet says who it is and no more."""
    d = Driver()
    assert said(d(e.Connected())) == [HELLO]
    assert d(e.Tick(), 5) == []
    assert d.hear(r.Ping(1, 2)) == []


@pytest.mark.parametrize("code", ["version", "layout"])
def test_refusal_names_what_this_agent_speaks(code: str) -> None:
    """Whoever reads it can tell both sides' versions apart."""
    d = Driver()
    d(e.Connected())
    (leave,) = d.hear(r.Refusal(code, "the controller is version 9"))
    assert isinstance(leave, e.Leave)
    assert "version 9" in leave.text
    assert "version 0.1.0 with protocol 1-2 and layout hdr-us-3-24h" in leave.text


def test_a_protocol_it_does_not_speak_makes_it_leave() -> None:
    """A Welcome with a version outside of Hello's is no agreement."""
    d = Driver()
    d(e.Connected())
    (leave,) = d.hear(r.Welcome(3, "a1"))
    assert (leave.code, "protocol 3" in leave.text) == ("version", True)
    assert d(e.Disconnected()) == []


def test_its_own_dead_stream_in_the_way_is_waited_out() -> None:
    """A duplicate's refusal ends a newcomer but not an agent that was let in before."""
    d = Driver()
    d.attach()
    d(e.Disconnected())
    d(e.Connected())
    (drop,) = d.hear(r.Refusal("duplicate", "a1 is attached already"))
    assert isinstance(drop, e.DropStream)
    newcomer = Driver()
    newcomer(e.Connected())
    (leave,) = newcomer.hear(r.Refusal("duplicate", "a1 is attached already"))
    assert isinstance(leave, e.Leave)


def test_heartbeats_follow_the_interval_the_controller_asked_for() -> None:
    """One at once, then one an interval, with what the workers read."""
    d = Driver()
    d.attach()
    reading = r.WorkerReading(0, 1, 2, 3, 4, 5)
    beats = [said(d(e.Tick((reading,), 500), 0.25), r.Heartbeat) for _ in range(9)]
    assert [len(beat) for beat in beats] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert beats[0][0] == r.Heartbeat("", d.now - 2 * S, (reading,), 0, 500)


def test_a_run_of_a_large_fleet_asks_for_rarer_heartbeats_while_it_is_held() -> None:
    """Prepare's interval counts until the run ends, Welcome's before and after; a new stream begins with one."""
    d = Driver()
    d.attach()
    d.hear(dataclasses.replace(PREPARE, heartbeat_ms=3_000))
    beats = [len(said(d(e.Tick(), 1), r.Heartbeat)) for _ in range(7)]
    assert beats == [1, 0, 0, 1, 0, 0, 1]
    d(e.Disconnected())
    d.attach()
    assert [len(said(d(e.Tick(), 1), r.Heartbeat)) for _ in range(4)] == [1, 0, 0, 1]
    d.hear(r.End("run"))
    assert [len(said(d(e.Tick(), 1), r.Heartbeat)) for _ in range(3)] == [1, 1, 1]


def test_a_ping_is_answered_with_this_clock() -> None:
    """The controller estimates the offset from four stamps."""
    d = Driver()
    d.attach()
    assert said(d.hear(r.Ping(5, 6))) == [r.Pong(5, 6, d.now, d.now)]


# --- the run ----------------------------------------------------------------------------------------------------------


def test_repeated_orders_are_done_once_and_answered_again() -> None:
    """A controller that was not sure may say everything twice."""
    d = Driver()
    d.attach()
    (instruction,) = d.hear(PREPARE)
    assert instruction == e.PrepareRun(PREPARE)
    assert d.hear(PREPARE) == []
    answer = r.PrepareResult("run")
    assert said(d(e.Answered(answer))) == [answer]
    assert said(d.hear(PREPARE)) == [answer]
    assert d.hear(r.Setup("run")) == [e.RunSetup()]
    assert d.hear(r.Setup("run")) == []
    done = r.SetupResult("run", b"1")
    assert said(d(e.Answered(done))) == said(d.hear(r.Setup("run"))) == [done]
    d.lease()
    start = r.Start("run", d.now, b"1")
    assert d.hear(start) == [e.BeginLoad(d.now, b"1")]
    assert d.hear(start) == []
    assert d.hear(r.Teardown("run", b"1")) == [e.RunTeardown(b"1")]
    assert d.hear(r.Teardown("run", b"1")) == []


def test_orders_for_another_run_are_ignored() -> None:
    """Only the run that is held is obeyed."""
    d = Driver().running()
    lease = r.Lease("old", 99, (r.ShardGrant(3),), 1)
    for order in (r.Setup("old"), lease, r.Start("old", 1), r.Stop("old"), r.Teardown("old"), r.End("old"), ack(1)):
        order = ack(1, run_id="old") if isinstance(order, r.SnapshotAck) else order
        assert d.hear(order) == []


def test_another_prepare_forgets_the_run_before() -> None:
    """The controller decides which run an agent works on."""
    d = Driver().running()
    other = r.Prepare("next", b"{}", b"{}", "00", 0, 4)
    assert d.hear(other) == [e.ForgetRun("run"), e.PrepareRun(other)]
    assert d(e.LoadEnded("run", 1, (), b"")) == []


def test_a_lower_fence_is_ignored_and_a_higher_one_replaces_the_shards() -> None:
    """An order overtaken by a newer one can't give shards back."""
    d = Driver().running()
    (hold,) = d.lease(1, 2, fence=3)
    assert isinstance(hold, e.HoldShards)
    assert d.lease(0, 1, fence=2) == []
    assert [grant.shard for grant in hold.lease.shards] == [1, 2]


def test_a_renewal_extends_and_never_shortens() -> None:
    """The end moves with the newest heartbeat the controller answered; a delayed renewal takes nothing away."""
    d = Driver().running()
    d.now += 5 * S
    assert d.lease(echo_ns=d.now - S) == [e.ExtendLease(d.now + 14 * S)]
    assert d.lease(echo_ns=d.now - 3 * S) == []


def test_a_lease_counts_from_the_heartbeat_it_answers() -> None:
    """One that was on its way for 20 s is over on arrival; an echo from the future counts from now."""
    d = Driver()
    d.attach()
    d.hear(PREPARE)
    (hold,) = d.lease(echo_ns=d.now - 20 * S)
    assert hold.lease_end_ns == d.now - 5 * S
    assert d.lease(echo_ns=d.now + 99 * S) == [e.ExtendLease(d.now + 15 * S)]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_count_from_1_and_only_a_window_is_in_flight() -> None:
    """The rest waits for acks, and is coalesced when it is too much."""
    d = Driver(Limits(snapshots_in_flight_max=2, snapshots_unsent_max=2)).running()
    assert seqs(d.measure(6)) == [(1, 1), (2, 2)]
    assert seqs(d.hear(ack(2))) == [(3, 5), (6, 6)]


def test_acks_of_another_process_are_ignored() -> None:
    """Numbers mean something only with the agent and the epoch they belong to."""
    d = Driver().running()
    d.measure()
    d.hear(ack(1, epoch=78))
    d.hear(ack(1, agent_id="a2"))
    assert d.machine.run is not None
    assert d.machine.run.queue.unacked == 1


def test_after_a_reconnect_everything_unacked_is_said_again_unchanged() -> None:
    """Answers, worker events and blocks; the same epoch and the run it holds introduce them."""
    d = Driver().running()
    trouble = said(d(e.WorkerTrouble("run", 0, "blocked", "text", "Buy", "Pay", 5)))
    sent = said(d.measure(2))
    d(e.Disconnected())
    later = d.measure()
    assert later == []
    (hello,) = said(d(e.Connected()))
    assert (hello.epoch, hello.run_id) == (77, "run")
    again = said(d.hear(r.Welcome(1, "a1")))
    assert again[:4] == [r.PrepareResult("run"), *trouble, *sent]
    assert seqs([e.Send(record) for record in again]) == [(1, 1), (2, 2), (3, 3)]


def test_what_is_not_acked_for_long_is_sent_again_on_a_living_stream() -> None:
    """A controller that dropped a block because of a gap gets it without a reconnect."""
    d = Driver().running()
    d.measure(2)
    quiet = [d(e.Tick(), 1) for _ in range(4)]
    assert [seqs(out) for out in quiet] == [[], [], [], []]
    d.hear(r.Ping(1, 1))
    assert seqs(d(e.Tick(), 1)) == [(1, 1), (2, 2)]


def test_final_follows_the_last_ack_and_is_repeated_until_the_end() -> None:
    """It is the word that nothing is missing, so nothing may be on its way any more."""
    d = Driver().running()
    d.measure(2)
    shards = (r.ShardFinal(0, 1, 0, 10),)
    assert said(d(e.LoadEnded("run", 1, shards, b"t", 3))) == []
    assert said(d.hear(ack(1))) == []
    final = r.Final("run", 77, 2, shards, b"t", 3)
    assert said(d.hear(ack(2))) == [final]
    assert said(d.hear(ack(2))) == []
    d(e.Disconnected())
    d(e.Connected())
    assert final in said(d.hear(r.Welcome(1, "a1")))
    assert d.hear(r.End("run")) == [e.ForgetRun("run")]
    assert d.machine.run is None


def test_shards_of_another_agent_reopen_a_part_that_was_over() -> None:
    """A re-deal may come after Final: then there is more to report, and a second Final."""
    d = Driver().running()
    d(e.LoadEnded("run", 1, (), b""))
    (hold,) = d.lease(0, 1, 5, fence=2)
    assert isinstance(hold, e.HoldShards)
    assert said(d(e.LoadEnded("run", 1, (), b""))) == []
    d.measure()
    d(e.LoadEnded("run", 2, (), b"more"))
    (final,) = said(d.hear(ack(1)), r.Final)
    assert (final.last_seq, final.totals) == (1, b"more")


# --- the dead-man switch ----------------------------------------------------------------------------------------------


def test_without_a_word_for_the_grace_the_load_is_stopped_for_good() -> None:
    """Whether the stream is open or not, and a lease that comes too late does not start it again."""
    d = Driver().running()
    d(e.Disconnected())
    halts = [out for _ in range(40) for out in d(e.Tick(), 1) if isinstance(out, e.HaltLoad)]
    assert [halt.immediate for halt in halts] == [True]
    d.attach()
    assert d.lease(fence=9) == []


def test_the_grace_counts_from_the_last_word_not_from_the_last_stream() -> None:
    """Streams that open and say nothing don't keep an orphan's load alive."""
    d = Driver().running()
    stopped_s = None
    for second in range(1, 40):
        d(e.Disconnected())
        d(e.Connected())
        if any(isinstance(out, e.HaltLoad) for out in d(e.Tick(), 1)):
            stopped_s = second
            break
    assert stopped_s == 30


def test_a_word_in_time_keeps_the_load() -> None:
    """Any message of the controller counts."""
    d = Driver().running()
    for _ in range(10):
        d.hear(r.Ping(1, 1), 8)
        assert not [out for out in d(e.Tick()) if isinstance(out, e.HaltLoad)]


def test_a_stream_that_says_nothing_is_dropped() -> None:
    """A black hole looks open to gRPC for long; the machine opens another stream."""
    d = Driver().running()
    drops = [out for _ in range(15) for out in d(e.Tick(), 1) if isinstance(out, e.DropStream)]
    assert len(drops) == 1


def test_an_idle_agent_waits_for_ever() -> None:
    """Without load there is nothing to switch off."""
    d = Driver()
    d.attach()
    assert all(not isinstance(out, e.DropStream | e.HaltLoad) for _ in range(90) for out in d(e.Tick(), 1))


def test_a_stop_before_the_start_prevents_it() -> None:
    """A start overtaken by its stop does not begin anything."""
    d = Driver()
    d.attach()
    d.hear(PREPARE)
    d(e.Answered(r.PrepareResult("run")))
    d.lease()
    (halt,) = d.hear(r.Stop("run", 0, immediate=True, reason="person"))
    assert halt == e.HaltLoad(0, immediate=True, reason="person")
    assert d.hear(r.Start("run", d.now)) == []


def test_worker_events_are_numbered_and_bounded() -> None:
    """The controller drops repetitions by their numbers."""
    d = Driver(Limits(worker_events_max=3)).running()
    for _ in range(5):
        d(e.WorkerTrouble("run", 1, "exited", "text"))
    d(e.Disconnected())
    d(e.Connected())
    again = said(d.hear(r.Welcome(1, "a1")), r.WorkerEvent)
    assert [event.number for event in again] == [3, 4, 5]


# --- reservations -----------------------------------------------------------------------------------------------------


def test_reservations_are_said_until_they_are_on_record_and_told_to_the_worker_once() -> None:
    """Repeated after a reconnect and after a silence; an answer that comes twice, or to nothing, is ignored."""
    drive = Driver().running()
    draws = (r.UserDraws(3, 0, 4),)
    assert said(drive(e.DrawsWanted("run", 1, draws))) == [r.Reserve("run", 1, draws)]
    silence_s = drive.machine.limits.resend_ns / S
    assert said(drive(e.Tick(), silence_s), r.Reserve) == [r.Reserve("run", 1, draws)]
    assert said(drive(e.Tick(), silence_s / 2), r.Reserve) == []
    drive(e.Disconnected())
    later = (r.UserDraws(4, 0, 8),)
    assert drive(e.DrawsWanted("run", 0, later)) == []
    assert said(drive.attach(), r.Reserve) == [r.Reserve("run", 1, draws), r.Reserve("run", 2, later)]
    assert drive.hear(r.Reserved("run", 2)) == [e.DrawsReserved(0, later)]
    assert drive.hear(r.Reserved("run", 2)) == drive.hear(r.Reserved("other", 1)) == []
    assert drive.hear(r.Reserved("run", 1)) == [e.DrawsReserved(1, draws)]
    assert said(drive(e.Tick(), silence_s), r.Reserve) == []
