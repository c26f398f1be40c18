"""The run's state machine, event by event, in virtual time."""

from __future__ import annotations

import pytest

from loadproof_controller import messages as m
from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from machine_driver import Driver, S

PROBLEM = m.Problem("import", "suite.py line 3: no module named shop", "Traceback ...")


def test_a_run_goes_through_its_phases_in_order() -> None:
    """Prepare everywhere, set-up on one agent, leases before the start, teardown after every Final, then the end."""
    drive = Driver()
    drive.attach_all()
    assert drive.phase == "preparing"
    drive.feed(ev.Prepared("a0", 1))
    assert not drive.messages(m.Setup)
    drive.feed(ev.Prepared("a1", 1))
    assert drive.phase == "setup"
    drive.feed(ev.SetupDone("a0", 1, b'{"x":1}'))
    assert drive.phase == "running"
    starts = [i for i in drive.did if isinstance(i, do.SendStart)]
    assert {(s.agent_id, s.at_ns, s.shared) for s in starts} == {(n, drive.now + S, b'{"x":1}') for n in drive.names}
    first_start = drive.did.index(starts[0])
    assert any(isinstance(i, do.Send) and isinstance(i.message, m.Lease) for i in drive.did[:first_start])
    for _ in range(62):
        drive.beat()
        drive.tick(1)
    assert drive.phase == "draining"
    drive.final("a0")
    assert drive.phase == "draining"
    drive.final("a1")
    assert drive.phase == "teardown"
    assert [t.shared for t in drive.messages(m.Teardown, "a0")] == [b'{"x":1}']
    drive.feed(ev.TeardownDone("a0", 1))
    assert drive.end() == do.EndRun("finished")
    assert len(drive.messages(m.End)) == 2


def test_no_setup_before_every_agent_was_heard_of() -> None:
    """Leases count from heartbeats, so the barrier waits for one of each agent."""
    drive = Driver()
    for name in drive.names:
        drive.feed(ev.AgentAttached(name, 1))
    for name in drive.names:
        drive.feed(ev.Prepared(name, 1))
    drive.beat("a0")
    assert drive.phase == "ready"
    drive.beat("a1")
    assert drive.phase == "setup"


def test_too_few_agents_end_the_run_with_a_sentence_that_counts_them() -> None:
    """Waiting for agents has an end, and no teardown is ordered where nothing was set up."""
    drive = Driver(agents=3)
    drive.feed(ev.AgentAttached("a0", 1))
    drive.tick(61)
    assert drive.end().status == "failed"
    assert drive.end().reason == "1 of 3 agents attached within 60 s (a0)"
    assert not drive.messages(m.Teardown)


def test_a_suite_that_does_not_import_fails_the_run_naming_the_agent() -> None:
    """A problem in prepare ends the run before any load, with the agent's name and the problem's text."""
    drive = Driver()
    drive.attach_all()
    drive.feed(ev.Prepared("a1", 1, (PROBLEM,)))
    assert drive.end().status == "failed"
    assert drive.end().reason == "agent a1 cannot run the suite: import: suite.py line 3: no module named shop"
    assert drive.records("prepare_failed")[0].data["details"] == "Traceback ..."
    assert not drive.messages(m.Lease)


@pytest.mark.parametrize("phase", ["preparing", "setup"])
def test_an_agent_that_dies_before_the_load_fails_the_run_naming_it(phase: str) -> None:
    """No load is started with a fleet that is not the one wanted."""
    drive = Driver()
    drive.attach_all()
    if phase == "setup":
        drive.feed(ev.Prepared("a0", 1))
        drive.feed(ev.Prepared("a1", 1))
    drive.feed(ev.AgentDetached("a1", 1))
    drive.tick(16)
    if phase == "setup":
        drive.feed(ev.TeardownDone("a0", 1))
    assert drive.end().status == "failed"
    assert drive.end().aborted_by == "infrastructure"
    assert f"agent a1 was lost before the load began ({phase})" in drive.end().reason


def test_an_agent_that_is_back_before_the_load_goes_on_preparing() -> None:
    """Over a network a connection may break and come back; what the agent may not have heard is said again."""
    drive = Driver()
    drive.attach_all()
    drive.feed(ev.AgentDetached("a0", 1))
    drive.tick(3)
    again = drive.feed(ev.AgentAttached("a0", 1, workers=2, weight=2000, local=False))
    assert [i.agent_id for i in again if isinstance(i, do.SendPrepare)] == ["a0"]
    for name in drive.names:
        drive.feed(ev.Prepared(name, 1))
    assert drive.phase == "setup"
    drive.feed(ev.AgentDetached("a0", 1))
    drive.feed(ev.AgentAttached("a0", 1, workers=2, weight=2000, local=False))
    assert len(drive.messages(m.Setup)) == 2
    drive.feed(ev.SetupDone("a0", 1, b"null"))
    assert drive.phase == "running"


def test_setup_that_fails_ends_the_run_after_a_teardown() -> None:
    """What set-up made before it failed is taken down."""
    drive = Driver()
    drive.attach_all()
    for name in drive.names:
        drive.feed(ev.Prepared(name, 1))
    drive.feed(ev.SetupDone("a0", 1, b"null", PROBLEM))
    assert len(drive.messages(m.Teardown)) == 1
    drive.feed(ev.TeardownDone("a0", 1))
    assert drive.end().status == "failed"
    assert "set-up failed on agent a0" in drive.end().reason


def test_setup_results_of_others_and_second_ones_are_ignored() -> None:
    """Only the agent that was asked answers, and only once."""
    drive = Driver()
    drive.attach_all()
    for name in drive.names:
        drive.feed(ev.Prepared(name, 1))
    assert drive.feed(ev.SetupDone("a1", 1)) == []
    drive.feed(ev.SetupDone("a0", 1))
    assert drive.feed(ev.SetupDone("a0", 1)) == []
    assert len(drive.messages(m.Setup)) == 1


def test_a_heartbeat_renews_the_lease_from_the_agents_own_clock() -> None:
    """The lease answers the newest heartbeat: same fence, same shards, the agent's own moment."""
    drive = Driver()
    drive.start()
    drive.tick(3)
    drive.beat("a0")
    renewed = drive.messages(m.Lease, "a0")[-1]
    assert (renewed.fence, renewed.duration_ms, renewed.echo_ns) == (1, 15_000, drive.now + 7 * S)
    assert [grant.shard for grant in renewed.shards] == [g.shard for g in drive.machine.members["a0"].grants]


def test_a_lease_is_renewed_five_times_while_it_lasts_not_at_each_heartbeat() -> None:
    """A heartbeat that would add little is not answered; one after a new stream is, whatever it adds."""
    drive = Driver()
    drive.start()
    told = len(drive.messages(m.Lease, "a0"))
    for _ in range(9):
        drive.tick(1)
        drive.beat("a0")
    assert len(drive.messages(m.Lease, "a0")) == told + 3
    drive.feed(ev.AgentDetached("a0", 1))
    drive.feed(ev.AgentAttached("a0", 1, workers=2, weight=2000, local=False))
    drive.beat("a0")
    assert len(drive.messages(m.Lease, "a0")) == told + 4
    assert drive.lease_until_ns("a0") == drive.now + 15 * S


def test_every_shard_is_leased_to_exactly_one_agent() -> None:
    """The union of the leases is the plan."""
    drive = Driver(agents=3, shard_count=13)
    drive.start()
    held = [grant.shard for name in drive.names for grant in drive.messages(m.Lease, name)[-1].shards]
    assert sorted(held) == list(range(13))


def test_snapshots_are_applied_in_order_once_and_acked_after() -> None:
    """The next number is applied; a seen one and a gap are acked with what is applied, and nothing else happens."""
    drive = Driver()
    drive.start()

    def outcome(first: int, last: int) -> tuple[bool, int]:
        out = drive.feed(ev.SnapshotReceived("a0", 1, first, last))
        acks = [i.message.seq for i in out if isinstance(i, do.Send) and isinstance(i.message, m.SnapshotAck)]
        applied = [n for n, i in enumerate(out) if isinstance(i, do.LogAndApply)]
        assert applied in ([], [0])
        return bool(applied), acks[0]

    assert outcome(2, 2) == (False, 0)
    assert outcome(1, 1) == (True, 1)
    assert outcome(1, 1) == (False, 1)
    assert outcome(2, 4) == (True, 4)
    assert outcome(4, 5) == (False, 4)
    assert outcome(3, 3) == (False, 4)
    assert outcome(5, 5) == (True, 5)


def test_snapshots_of_another_process_are_not_this_agents() -> None:
    """A restarted agent has a new epoch: its numbers begin again and are not mixed with the old ones."""
    drive = Driver()
    drive.start()
    assert drive.feed(ev.SnapshotReceived("a0", 2, 1, 1)) == []
    drive.feed(ev.AgentAttached("a0", 2))
    assert drive.machine.members["a0"].lost
    assert "replaced by a new one" in drive.records("agent_lost")[0].text


def test_a_final_is_complete_only_with_everything_before_it() -> None:
    """Final names the last number; until that is applied the agent's part is open."""
    drive = Driver(agents=1)
    drive.start()
    drive.final("a0", last_seq=2)
    assert not drive.final_heard("a0")
    drive.feed(ev.SnapshotReceived("a0", 1, 1, 1))
    drive.feed(ev.SnapshotReceived("a0", 1, 2, 2))
    assert drive.final_heard("a0")
    assert drive.phase == "teardown"
    assert [i for i in drive.did if isinstance(i, do.CheckTotals)] == [do.CheckTotals("a0", 1)]


def test_silence_for_a_lease_loses_the_agent_and_the_run_goes_on() -> None:
    """The default policy: the others finish, the lost agent is named."""
    drive = Driver()
    drive.start()
    for _ in range(16):
        drive.beat("a0")
        drive.tick(1)
    assert drive.machine.members["a1"].lost
    assert "nothing was heard of it for 15 s" in drive.records("agent_lost")[0].text
    drive.final("a0")
    drive.feed(ev.TeardownDone("a0", 1))
    assert drive.end().status == "finished"


def test_an_agent_that_returns_goes_on_and_is_not_lost() -> None:
    """A stopped process that wakes up again gets its lease again; what it missed it says itself."""
    drive = Driver()
    drive.start()
    for _ in range(16):
        drive.beat("a0")
        drive.tick(1)
    drive.beat("a1")
    assert not drive.machine.members["a1"].lost
    assert drive.messages(m.Lease, "a1")[-1].shards == drive.machine.members["a1"].grants
    assert "it goes on with its shards" in drive.records("agent_returned")[0].text


def test_a_local_agent_whose_stream_ends_is_lost_after_a_second() -> None:
    """On this machine the end of a stream is the end of a process; no lease has to be waited for."""
    drive = Driver()
    drive.start(local=True)
    drive.feed(ev.AgentDetached("a1", 1))
    drive.tick(0.5)
    assert not drive.lost("a1")
    drive.tick(0.6)
    assert drive.lost("a1")


def test_policy_fail_stops_everything_at_once() -> None:
    """One lost agent ends the run as failed, with an immediate stop for the others."""
    drive = Driver(on_agent_loss="fail")
    drive.start(local=True)
    drive.feed(ev.AgentDetached("a1", 1))
    drive.tick(1.5)
    assert [stop.immediate for stop in drive.messages(m.Stop, "a0")] == [True]
    drive.final("a0")
    drive.feed(ev.TeardownDone("a0", 1))
    assert (drive.end().status, drive.end().aborted_by) == ("failed", "infrastructure")
    assert "agent a1 was lost" in drive.end().reason


def test_a_run_whose_agents_are_all_lost_fails() -> None:
    """With nobody left there is nothing to finish, and nobody for teardown."""
    drive = Driver()
    drive.start(local=True)
    for name in drive.names:
        drive.feed(ev.AgentDetached(name, 1))
    drive.tick(1.5)
    assert drive.end().status == "failed"
    assert drive.end().reason == "every agent was lost"
    assert drive.records("teardown_failed")


def test_redeal_waits_for_the_fence_and_continues_at_the_first_arrival_after_it() -> None:
    """Nobody gets a shard while its old holder may still have a lease; then the others do, under a new fence."""
    drive = Driver(agents=3, on_agent_loss="redeal", arrivals_before=lambda offset: offset // S * 10)
    drive.start(local=True)
    lost_shards = {grant.shard for grant in drive.machine.members["a2"].grants}
    drive.feed(ev.AgentDetached("a2", 1))
    while not drive.records("redealt"):
        assert drive.now < drive.lease_until_ns("a2") + 2 * S
        drive.beat("a0", "a1")
        drive.tick(1)
    fence = drive.lease_until_ns("a2")
    assert drive.now >= fence
    first_k = (drive.now - drive.start_ns) // S * 10
    new = [g for name in ("a0", "a1") for g in drive.messages(m.Lease, name)[-1].shards if g.first_k]
    assert {grant.shard for grant in new} == lost_shards
    assert {grant.first_k for grant in new} == {first_k}
    assert [drive.messages(m.Lease, name)[-1].fence for name in ("a0", "a1")] == [2, 2]
    assert any(isinstance(i, do.LogState) and i.run["fence"] == 2 for i in drive.did)


def test_an_agent_that_returns_after_a_redeal_gets_nothing_back() -> None:
    """Its lease is empty and its fence higher than the one it knows."""
    drive = Driver(on_agent_loss="redeal")
    drive.start()
    for _ in range(17):
        drive.beat("a0")
        drive.tick(1)
    drive.beat("a1")
    lease = drive.messages(m.Lease, "a1")[-1]
    assert (lease.fence, lease.shards) == (2, ())
    assert "with other agents now" in drive.records("agent_returned")[0].text


def test_a_final_said_before_a_redeal_arrived_does_not_end_the_agents_part() -> None:
    """It lacks the shards that are on their way; the agent will say Final again."""
    drive = Driver(on_agent_loss="redeal")
    drive.start()
    own = tuple(m.ShardFinal(g.shard, 1, 0, 0) for g in drive.machine.members["a0"].grants)
    for _ in range(17):
        drive.beat("a0")
        drive.tick(1)
    assert drive.feed(ev.FinalReceived("a0", 1, 0, own)) == []
    drive.final("a0")
    assert drive.machine.members["a0"].final


def test_redealt_users_continue_after_their_reserved_draws() -> None:
    """In the closed model the new holder is told what each user of the shard has drawn."""
    drive = Driver(on_agent_loss="redeal", arrivals_before=None, shard_count=4)
    drive.start()
    shard = drive.machine.members["a1"].grants[0].shard
    draws = (m.UserDraws(shard, 0, 100), m.UserDraws(shard + 1, 0, 300), m.UserDraws(shard + 4, 0, 200))
    out = drive.feed(ev.DrawsReserved("a1", 1, 9, draws))
    assert [type(i) for i in out] == [do.LogDraws, do.Send]
    for _ in range(17):
        drive.beat("a0")
        drive.tick(1)
    granted = {g.shard: g.draws for g in drive.messages(m.Lease, "a0")[-1].shards}
    assert granted[shard] == (m.UserDraws(shard, 0, 100), m.UserDraws(shard + 4, 0, 200))


def test_nobody_reserves_for_users_of_another_agent() -> None:
    """What comes from an agent for users that were re-dealt, or that it never held, is neither logged nor acked."""
    drive = Driver(on_agent_loss="redeal", arrivals_before=None, shard_count=4)
    drive.start()
    mine, other = (drive.machine.members[name].grants[0].shard for name in ("a1", "a0"))
    assert drive.feed(ev.DrawsReserved("a1", 1, 8, (m.UserDraws(other, 0, 4),))) == []
    out = drive.feed(ev.DrawsReserved("a1", 1, 9, (m.UserDraws(mine, 0, 4), m.UserDraws(other, 0, 4))))
    assert out[0].draws == (m.UserDraws(mine, 0, 4),)
    for _ in range(17):
        drive.beat("a0")
        drive.tick(1)
    drive.beat("a1")
    assert drive.machine.members["a1"].live
    assert drive.feed(ev.DrawsReserved("a1", 1, 10, (m.UserDraws(mine, 0, 8),))) == []
    assert isinstance(drive.feed(ev.DrawsReserved("a0", 1, 1, (m.UserDraws(mine, 0, 8),)))[0], do.LogDraws)


def test_what_users_had_reserved_is_forfeited_by_the_agent_that_lost_them() -> None:
    """Each holder forfeits what it reserved itself, not what it was told of."""
    drive = Driver(on_agent_loss="redeal", arrivals_before=None, shard_count=3, agents=3)
    drive.start()
    holder, shard = "a1", drive.machine.members["a1"].grants[0].shard
    drive.feed(ev.DrawsReserved(holder, 1, 1, (m.UserDraws(shard, 0, 40),)))
    alive = [name for name in drive.machine.members if name != holder]
    for _ in range(17):
        for name in alive:
            drive.beat(name)
        drive.tick(1)
    assert drive.machine.members[holder].forfeited == 40
    assert "after what their users had reserved" in drive.records("redealt")[0].text
    heir = next(n for n in alive if shard in {g.shard for g in drive.machine.members[n].grants})
    drive.feed(ev.DrawsReserved(heir, 1, 1, (m.UserDraws(shard, 0, 55),)))
    last = next(name for name in alive if name != heir)
    for _ in range(17):
        drive.beat(last)
        drive.tick(1)
    assert drive.machine.members[heir].forfeited == 15
    told = {grant.shard: grant.draws for grant in drive.machine.members[last].grants}
    assert told[shard] == (m.UserDraws(shard, 0, 55),)


def test_a_graceful_stop_drains_and_an_immediate_one_follows_at_the_same_offset() -> None:
    """The first stop names a moment all agents can meet; the second cuts short but does not move it."""
    drive = Driver()
    drive.start()
    drive.tick(5)
    drive.feed(ev.StopRequested("person", "Ctrl+C"))
    offset = drive.now - drive.start_ns + S // 2
    assert {(s.at_offset_ns, s.immediate) for s in drive.messages(m.Stop)} == {(offset, False)}
    assert drive.phase == "draining"
    drive.feed(ev.StopRequested("person", "Ctrl+C again", immediate=True), after_s=0.2)
    assert {(s.at_offset_ns, s.immediate) for s in drive.messages(m.Stop)} == {(offset, False), (offset, True)}
    for name in drive.names:
        drive.final(name)
    drive.feed(ev.TeardownDone("a0", 1))
    assert drive.end() == do.EndRun("aborted", "person", "Ctrl+C")
    assert drive.machine.stop_offset_ns == offset


def test_a_rule_that_stops_the_run_is_named() -> None:
    """Aborted by a rule is not aborted by a person."""
    drive = Driver()
    drive.start()
    drive.feed(ev.StopRequested("rule", "success_rate >= 99 % is broken"), after_s=3)
    for name in drive.names:
        drive.final(name)
    drive.feed(ev.TeardownDone("a0", 1))
    assert drive.end() == do.EndRun("aborted", "rule", "success_rate >= 99 % is broken")


@pytest.mark.parametrize("immediate", [False, True])
def test_a_stop_before_setup_ends_the_run_without_teardown(immediate: bool) -> None:
    """Nothing was set up, so nothing is taken down."""
    drive = Driver()
    drive.attach_all()
    drive.feed(ev.StopRequested("person", "Ctrl+C", immediate))
    assert drive.end().status == "aborted"
    assert not drive.messages(m.Teardown)


def test_a_graceful_stop_in_setup_waits_for_it_and_tears_down() -> None:
    """What set-up returns is needed to take it down again."""
    drive = Driver()
    drive.attach_all()
    for name in drive.names:
        drive.feed(ev.Prepared(name, 1))
    drive.feed(ev.StopRequested("person", "Ctrl+C"))
    assert drive.phase == "setup"
    drive.feed(ev.SetupDone("a0", 1, b'{"id":4}'))
    assert [t.shared for t in drive.messages(m.Teardown)] == [b'{"id":4}']
    assert not [i for i in drive.did if isinstance(i, do.SendStart)]


def test_a_refused_agent_never_returns() -> None:
    """What an agent that sent garbage says later is not heard, the others finish."""
    drive = Driver()
    drive.start()
    drive.feed(ev.AgentRefused("a1", 1, "not a delta"))
    drive.beat()
    assert drive.machine.members["a1"].refused
    assert drive.feed(ev.SnapshotReceived("a1", 1, 1, 1)) == []
    for _ in range(16):
        drive.beat("a0")
        drive.tick(1)
    drive.final("a0")
    drive.feed(ev.TeardownDone("a0", 1))
    assert drive.end().status == "finished"


def test_a_reattached_agent_is_told_what_it_may_not_have_heard() -> None:
    """After a break: what is applied, when it began, that it is to stop."""
    drive = Driver()
    drive.start()
    drive.feed(ev.AgentDetached("a1", 1), after_s=2)
    drive.feed(ev.StopRequested("person", "Ctrl+C"))
    out = drive.feed(ev.AgentAttached("a1", 1), after_s=1)
    kinds = [type(i.message if isinstance(i, do.Send) else i).__name__ for i in out]
    assert kinds == ["Record", "SnapshotAck", "SendStart", "Stop"]


def test_after_the_end_nothing_happens_any_more() -> None:
    """Late events of a finished run are ignored."""
    drive = Driver(agents=1)
    drive.attach_all()
    drive.feed(ev.StopRequested("person", "Ctrl+C"))
    assert drive.feed(ev.SnapshotReceived("a0", 1, 1, 1)) == []
    assert drive.tick(1000) == []
