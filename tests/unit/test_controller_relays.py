"""Relays as the controller sees them: blocks are taken whole or not at all, a relay speaks for its own agents only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_runs import closed_plan, open_plan, request_for
from loadproof.histogram import LAYOUT_ID
from loadproof.metrics import (
    CodecError,
    RunningTotals,
    Sums,
    decode_delta,
    encode_delta,
    merge_delta,
    series_totals,
    sums_of,
)
from loadproof_controller import fleet as fleet_module
from loadproof_controller import messages as m
from loadproof_controller.errors import HostileData
from loadproof_controller.fleet import AgentLink, Fleet
from loadproof_controller.hostile import DeltaCheck
from loadproof_controller.ledger import AgentBook
from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.members import Member
from loadproof_controller.machine.sequence import SequenceBook
from loadproof_controller.relays import messages as rm
from loadproof_controller.relays.blocks import checked_block
from loadproof_controller.relays.links import LeaseMemory, RelayedLink, RelayLink
from loadproof_controller.relays.station import RelayStation
from loadproof_controller.runlog import LOG_NAME, LOG_VERSION, RunLog, replay
from loadproof_controller.runner import Runner
from loadproof_controller.security import TokenStore
from logged_runs import EPOCH, LoggedRun, delta_at
from machine_driver import Driver
from metrics_samples import recorded

# --- the machine ------------------------------------------------------------------------------------------------------


def block(number: int, *ranges: tuple[str, int, int], epoch: int = 1) -> ev.BlockReceived:
    """Return the event of a block."""
    named = tuple(rm.RelayedRange(name, epoch, from_seq, to_seq) for name, from_seq, to_seq in ranges)
    return ev.BlockReceived("r", number, named, "payload")


def answers(out: list[do.Instruction]) -> list[rm.BlockAnswer]:
    """Return what the relay is answered."""
    return [instruction.message for instruction in out if isinstance(instruction, do.SendRelay)]


def test_a_block_whose_ranges_all_come_next_is_logged_before_it_is_answered() -> None:
    """It is one record, and its numbers are the agents' from here on."""
    driver = Driver(2)
    driver.start()
    out = driver.feed(block(1, ("a0", 1, 2), ("a1", 1, 1)))
    assert [type(instruction) for instruction in out] == [do.LogAndApplyBlock, do.SendRelay]
    assert answers(out) == [rm.BlockAnswer(1, "applied")]
    assert (driver.machine.sequence.last("a0", 1), driver.machine.sequence.last("a1", 1)) == (2, 1)


def test_one_range_that_does_not_fit_refuses_the_block_whole() -> None:
    """Nothing is applied, and the answer says where each agent stands."""
    driver = Driver(2)
    driver.start()
    driver.feed(ev.SnapshotReceived("a0", 1, 1, 1, "payload"))
    for ranges in ((("a0", 1, 2), ("a1", 1, 1)), (("a0", 2, 2), ("a1", 2, 2)), (("a0", 1, 1), ("a1", 1, 1))):
        out = driver.feed(block(3, *ranges))
        assert not [i for i in out if isinstance(i, do.LogAndApplyBlock)]
        assert answers(out) == [rm.BlockAnswer(3, "again", (rm.RangeState("a0", 1, 1), rm.RangeState("a1", 1, 0)))]


def test_a_block_seen_before_is_answered_and_not_applied_again() -> None:
    """An answer that got lost costs nothing."""
    driver = Driver(2)
    driver.start()
    driver.feed(block(1, ("a0", 1, 1), ("a1", 1, 1)))
    out = driver.feed(block(1, ("a0", 1, 1), ("a1", 1, 1)))
    assert out == [do.SendRelay("r", rm.BlockAnswer(1, "applied"))]


def test_an_agent_nobody_wants_refuses_the_block_and_is_named() -> None:
    """One that was put out, another process of its name, or an agent of no run."""
    driver = Driver(2)
    driver.start()
    driver.feed(ev.AgentRefused("a1", 1, "lied"))
    for stranger, epoch in (("a1", 1), ("a0", 2), ("x", 1)):
        event = ev.BlockReceived("r", 1, (rm.RelayedRange(stranger, epoch, 1, 1),), "payload")
        assert answers(driver.feed(event)) == [
            rm.BlockAnswer(1, "again", (rm.RangeState(stranger, epoch, 0, unwanted=True),))
        ]


def test_a_block_can_complete_an_agent_whose_final_came_first() -> None:
    """Final names the last number; when a block brings it the part is complete and its totals are compared."""
    driver = Driver(2)
    driver.start()
    driver.final("a0", last_seq=2)
    out = driver.feed(block(1, ("a0", 1, 2), ("a1", 1, 1)))
    assert [i for i in out if isinstance(i, do.CheckTotals)] == [do.CheckTotals("a0", 1)]
    assert driver.final_heard("a0")
    assert not driver.final_heard("a1")


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.integers(0, 2)), max_size=3)))
def test_no_number_is_ever_taken_twice_or_left_out(blocks: list[list[tuple[str, int, int]]]) -> None:
    """Whatever blocks come, each agent's numbers are applied in order, each once."""
    driver = Driver(3)
    driver.names = ["a", "b", "c"]
    driver.start()
    applied: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for number, ranges in enumerate(blocks):
        named = {name: (from_seq, from_seq + more) for name, from_seq, more in ranges}
        if named:
            for i in driver.feed(block(number, *((name, *span) for name, span in named.items()))):
                if isinstance(i, do.LogAndApplyBlock):
                    for where in i.ranges:
                        applied[where.agent_id] += range(where.from_seq, where.to_seq + 1)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in applied.values())


def test_a_set_of_ranges_has_one_verdict() -> None:
    """All next is applied, all seen is seen, anything else waits."""
    book = SequenceBook({("a", 1): 3})
    assert book.judge_all([("a", 1, 4, 4), ("b", 1, 1, 2)]) == "apply"
    assert book.judge_all([("a", 1, 1, 3)]) == "seen"
    assert book.judge_all([("a", 1, 3, 3), ("b", 1, 1, 2)]) == "wait"
    assert book.judge_all([("a", 1, 4, 4), ("b", 1, 2, 2)]) == "wait"
    assert book.judge_all([]) == "wait"


def test_heartbeats_that_a_relay_brings_renew_the_leases_of_those_they_are_of() -> None:
    """As if each had come alone; another process of the name is not meant."""
    driver = Driver(3)
    driver.start()
    driver.now += 3 * 10**9
    clock = driver.now + 7 * 10**9 + 5
    out = driver.feed(ev.BeatsReceived((("a0", 1, clock), ("a1", 2, clock), ("x", 1, clock))))
    assert [(i.agent_id, i.message.echo_ns) for i in out] == [("a0", clock)]
    assert driver.machine.members["a0"].heartbeat_ns == driver.now > driver.machine.members["a1"].heartbeat_ns


def test_a_heartbeat_says_the_same_by_a_relay_as_alone() -> None:
    """Readings now, the highest so far, and when the load began: first as known, then only if it was earlier."""
    nothing = RunningTotals()
    alone, by_relay = AgentBook(nothing), AgentBook(nothing)
    for in_flight, cpu, memory, began_ns, offset_ns in ((3, 400, 9, 0, 1), (5, 300, 10, 70, 2), (4, 500, 8, 80, 3)):
        worker = m.WorkerReading(0, 1, 0, in_flight, cpu, memory, began_ns)
        alone.heartbeat(m.Heartbeat("run", 90, (worker,), 2, cpu + 1), (offset_ns, 4))
        beat = rm.ChildBeat("a", 1, "run", 90, in_flight, cpu, memory, began_ns, cpu + 1)
        by_relay.relayed_beat(beat, (offset_ns, 4))
    assert by_relay == alone
    assert (by_relay.cpu_permille_max, by_relay.memory_bytes_max) == (500, 10)
    assert (by_relay.began_ns, by_relay.began_known_ns) == (68, 4)


# --- numbers ----------------------------------------------------------------------------------------------------------


def relayed(name: str, seed: int, data: Any = None) -> rm.RelayedRange:
    """Return the range of one delta."""
    counted = sums_of(series_totals(data or recorded(seed)))
    return rm.RelayedRange(name, 1, 1, 1, *counted)


def plan_check() -> DeltaCheck:
    """Return a check that lets the sample deltas through."""
    check = DeltaCheck(open_plan(), 0)
    check._transactions, check._phases, check._datasets = {"T0", "T1"}, {"peak", "ramp", ""}, {"products", "users"}
    return check


def test_a_block_must_hold_what_its_ranges_say() -> None:
    """Merged in part, merged twice or under other names, it is refused before anything is applied."""
    whole = merge_delta(recorded(1), recorded(2))
    good = rm.RelayBlock("run", 1, (relayed("a", 1), relayed("b", 2)), encode_delta(whole))
    assert checked_block(good, plan_check(), 60 * 10**9).delta() == whole
    for wrong in (recorded(1), merge_delta(whole, recorded(2)), merge_delta(recorded(1), recorded(3))):
        with pytest.raises(HostileData, match="something else"):
            checked_block(rm.RelayBlock("run", 1, good.ranges, encode_delta(wrong)), plan_check(), 60 * 10**9)
    with pytest.raises(CodecError):
        checked_block(rm.RelayBlock("run", 1, good.ranges, b"rubbish"), plan_check(), 0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.integers(0, 3))
def test_sums_of_a_sum_are_the_sum_of_sums(seeds: list[int], cut: int) -> None:
    """In any grouping; and one sample under another name changes them."""
    deltas = [recorded(seed, samples=3) for seed in seeds]
    merged = deltas[0]
    for delta in deltas[1:]:
        merged = merge_delta(merged, delta)
    total = Sums()
    for delta in deltas:
        total = total.plus(sums_of(series_totals(delta)))
    assert sums_of(series_totals(merged)) == total
    totals = series_totals(merged)
    key = sorted(totals)[cut]
    totals[key._replace(transaction="other")] = totals.pop(key)
    assert sums_of(totals) != total


def test_a_final_is_compared_with_what_came_through_relays_and_directly() -> None:
    """The part in blocks is known by its sums, the part of its own by series; together they must be the Final's."""
    book = AgentBook()
    book.merged(recorded(1))
    book.relayed(sums_of(series_totals(recorded(2))))
    book.final_totals = series_totals(merge_delta(recorded(1), recorded(2)))
    assert book.mismatches() == []
    book.relayed(sums_of(series_totals(recorded(2))))
    (text,) = book.mismatches()
    assert "all series together" in text


def test_a_block_is_one_record_of_the_log_and_comes_back_whole(tmp_path: Path) -> None:
    """Replay gives merged state, numbers and sums; a torn or misplaced block counts for nobody."""
    path = tmp_path / "run.log"
    with RunLog(path) as log:
        log.append("run", LOG_VERSION, "run-1", b"{}")
        log.append("delta", "a", 1, 1, 1, encode_delta(recorded(1)))
        ranges = [("a", 1, 2, 3, 10, 20, 30), ("b", 2, 1, 1, 1, 2, 3)]
        log.append("block", ranges, encode_delta(recorded(2)))
        size = path.stat().st_size
        log.append("block", [("a", 1, 4, 4, 0, 0, 0), ("b", 2, 3, 3, 0, 0, 0)], encode_delta(recorded(3)))
    back = replay(path)
    assert back.seqs == {("a", 1): 3, ("b", 2): 1}
    assert {name: book.relayed_sums for name, book in back.books.items()} == {
        ("a", 1): Sums(10, 20, 30), ("b", 2): Sums(1, 2, 3),
    }  # fmt: skip
    assert back.merged.delivery == merge_delta(recorded(1), recorded(2)).delivery
    assert back.torn_bytes == path.stat().st_size - size
    assert decode_delta(encode_delta(recorded(2))).series.keys() == recorded(2).series.keys()


@pytest.mark.parametrize(("said", "text"), [(30, "30 iterations"), (None, "up to 50 iterations")])
def test_iterations_lost_behind_a_relay_are_counted_where_it_says_what_began(
    tmp_path: Path, said: int | None, text: str
) -> None:
    """Of 60 reserved and 10 + 20 begun 30 are lost; of a relay that does not say, what came by it may be among them."""
    request = request_for(closed_plan(), tmp_path)
    runner = Runner(request, Fleet(), unix=False)
    book = runner.books["a", 1] = AgentBook(started=10)
    book.relayed(Sums(), None if said is None else 20)
    runner.machine.members["a"] = Member("a", 1, 1, 1, local=False, forfeited=60)
    data = runner._result()
    (event,) = [event for event in data.events if event.kind == "iterations_lost"]
    assert event.text.startswith(text)


def test_a_block_must_hold_the_starts_its_ranges_say() -> None:
    """As with samples; a relay that says nothing of them is not refused."""
    data = recorded(1)
    began = sum(delivery.started for delivery in data.delivery.values())
    for said, taken in ((began, True), (None, True), (began + 1, False)):
        block = rm.RelayBlock("run", 1, (relayed("a", 1)._replace(started=said),), encode_delta(data))
        if taken:
            checked_block(block, plan_check(), 60 * 10**9)
        else:
            with pytest.raises(HostileData, match="starts"):
                checked_block(block, plan_check(), 60 * 10**9)


def test_what_came_through_relays_comes_back_from_a_checkpoint_and_the_blocks_behind_it(tmp_path: Path) -> None:
    """An agent's sums are its part of every block, before the checkpoint and after it; the parts of its own stay."""
    part, more = Sums(10, (1 << 64) - 1, 30), Sums(1, 2, 3)  # sums count modulo 2**64
    with (run := LoggedRun(tmp_path)).log:
        run.begin()
        run.hear("a", delta_at(0, 1))
        run.log.append("block", [("a", EPOCH, 2, 4, *part), ("c", 1, 1, 1, *more)], delta_at(1, 2))
        run.books["a", EPOCH].relayed(part)
        run.books["c", 1] = AgentBook(relayed_sums=more)
        run.merged.apply(decode_delta(delta_at(1, 2)))
        own = dict(run.books["a", EPOCH].totals)
        run.checkpoint()
        run.log.append("block", [("a", EPOCH, 5, 5, *more), ("b", EPOCH, 1, 1, *more)], delta_at(2, 3))
    for _restart in range(2):
        back = replay(tmp_path / LOG_NAME)
        assert (back.checkpoint is not None, back.records, back.merged.deltas) == (True, 2, 3)
        assert back.seqs == {("a", EPOCH): 5, ("b", EPOCH): 1, ("c", 1): 1}
        assert {name: book.relayed_sums for (name, _epoch), book in back.books.items()} == {
            "a": part.plus(more), "b": more, "c": more,
        }  # fmt: skip
        assert back.books["a", EPOCH].totals == own


# --- the fleet --------------------------------------------------------------------------------------------------------


class House:
    """A fleet with a station, a relay, and a listener that remembers."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.heard_of: list[tuple[str, Any]] = []
        self.fleet.listener = self  # type: ignore[assignment]
        self.station = RelayStation(
            self.fleet, greet=lambda link: link.send(m.End("old")), token_known=lambda t: t == "ok"
        )
        self.relay = self.attach_relay("r")

    def attach_relay(self, name: str) -> RelayLink:
        """Attach a relay."""
        relay = RelayLink(rm.RelayHello(1, 1, LAYOUT_ID, name, 5))
        self.fleet.attach_relay(relay)
        return relay

    def come(self, relay: RelayLink, name: str, epoch: int = 1, token: str = "ok") -> list[rm.ToRelay]:
        """Have an agent come by a relay; return what the relay is told."""
        hello = m.Hello(1, 1, LAYOUT_ID, name, epoch)
        self.station.heard(relay, rm.ChildSaid(name, epoch, hello, token), 0)
        link = relay.children.get((name, epoch))
        if link is not None:
            link.ready = True
        return self.told(relay)

    @staticmethod
    def told(relay: RelayLink) -> list[Any]:
        """Return and forget what waits for a relay."""
        out = []
        while not relay._outbox.empty():
            out.append(relay._outbox.get_nowait())
        return out

    def attached(self, link: AgentLink) -> None:
        self.heard_of.append(("attached", link.agent_id))

    def detached(self, link: AgentLink) -> None:
        self.heard_of.append(("detached", link.agent_id))

    def heard(self, link: AgentLink, message: Any) -> None:
        self.heard_of.append((link.agent_id, message))

    def heard_block(self, relay: RelayLink, block: rm.RelayBlock) -> None:
        self.heard_of.append((relay.relay_id, block))

    def heard_beats(self, relay: RelayLink, beats: Sequence[rm.ChildBeat]) -> None:
        self.heard_of += [(child.agent_id, child.monotonic_ns) for child in beats]

    def relay_changed(self, relay: RelayLink, text: str) -> None:
        self.heard_of.append(("relay", text))


def test_an_agent_behind_a_relay_is_a_link_like_any_other() -> None:
    """What it says reaches the run, what it is sent goes by the relay, and it leaves with its stream."""
    house = House()
    assert house.come(house.relay, "a") == [rm.ChildTold("a", 1, m.End("old"))]
    strangers = (rm.ChildBeat("a", 2, "r", 5), rm.ChildBeat("x", 1, "r", 5))
    house.station.heard(house.relay, rm.RelayBeats((rm.ChildBeat("a", 1, "r", 5), *strangers)), 0)
    house.station.heard(house.relay, rm.ChildSaid("a", 1, m.LogBatch("run", ("x",))), 0)
    house.station.heard(house.relay, rm.ChildSaid("b", 1, m.LogBatch("run", ("x",))), 0)
    house.station.heard(house.relay, rm.ChildGone("a", 1), 0)
    assert house.heard_of[1:] == [("a", 5), ("a", m.LogBatch("run", ("x",))), ("detached", "a")]


def test_leases_that_last_on_go_out_together_as_numbers() -> None:
    """The first goes whole, and so does one of another fence or of other shards."""
    house = House()
    for name in "ab":
        house.come(house.relay, name)
    shards = (m.ShardGrant(1),)
    for echo, fence in ((1, 1), (2, 1), (3, 2)):
        for link in house.relay.children.values():
            link.send(m.Lease("run", fence, shards, 15_000, echo))
        house.relay.flush()
    out = house.told(house.relay)
    assert [type(message) for message in out] == [rm.ChildTold] * 2 + [rm.Renewals] + [rm.ChildTold] * 2
    assert out[2] == rm.Renewals("run", 15_000, (rm.Renewal("a", 1, 1, 2), rm.Renewal("b", 1, 1, 2)))
    memory = LeaseMemory()
    assert [memory.renewed(m.Lease("run", 1, held, 1, 1)) for held in (shards, shards, (), ())] == [
        False,
        True,
        False,
        True,
    ]


def test_an_agent_that_moves_is_ended_where_it_was() -> None:
    """To another relay or to the controller itself: the same process is known by its random number."""
    house = House()
    other = house.attach_relay("other")
    house.come(house.relay, "a")
    house.come(other, "a")
    assert house.told(house.relay) == [rm.ChildClosed("a", 1)]
    house.fleet.attach(m.Hello(1, 1, LAYOUT_ID, "a", 1))
    assert house.told(other) == [rm.ChildClosed("a", 1)]


def test_a_relay_cannot_take_the_name_of_an_agent_that_is_elsewhere() -> None:
    """Another process of that name is turned away while the one that has it is attached; of its own it may come."""
    house = House()
    other = house.attach_relay("other")
    house.come(house.relay, "a")
    assert house.come(other, "a", epoch=2) == [rm.ChildClosed("a", 2)]
    assert house.fleet.get("a") is house.relay.children["a", 1]
    house.come(house.relay, "a", epoch=2)
    assert isinstance(house.fleet.get("a"), RelayedLink)
    assert house.fleet.get("a") is house.relay.children["a", 2]


def test_an_agent_whose_token_was_revoked_is_refused_behind_a_relay_too() -> None:
    """It is told why."""
    house = House()
    told, closed = house.come(house.relay, "a", token="gone")
    assert isinstance(told, rm.ChildTold)
    assert isinstance(told.message, m.Refusal)
    assert closed == rm.ChildClosed("a", 1)
    assert house.fleet.get("a") is None


def test_a_token_lets_in_only_so_many_agents_behind_relays_too() -> None:
    """Those that are attached are known by their token, wherever they came in; the one that has a place may move."""
    house = House()
    house.fleet.token_limit = lambda _token_id: 1
    house.come(house.relay, "a")
    assert house.relay.children["a", 1].token_id == "ok"
    told, closed = house.come(house.relay, "b")
    assert isinstance(told, rm.ChildTold)
    assert isinstance(told.message, m.Refusal)
    assert told.message.code == "full"
    assert closed == rm.ChildClosed("b", 1)
    refusal = house.fleet.judge(m.Hello(1, 1, LAYOUT_ID, "c", 1), "c", "ok")
    assert refusal is not None
    assert refusal.code == "full"
    other = house.attach_relay("other")
    house.come(other, "a")
    assert house.fleet.get("a") is other.children["a", 1]


def test_a_token_without_a_limit_lets_in_all_a_controller_takes(tmp_path: Path) -> None:
    """On streams of their own and behind relays."""
    store = TokenStore(tmp_path / "tokens.json", "pin")
    entry, _token = store.create("agent", "all")
    assert store.agents_max(entry.token_id) == fleet_module.AGENTS_MAX + fleet_module.RELAYED_MAX


def test_a_relay_speaks_only_for_agents_that_came_by_it() -> None:
    """A block that names another costs it its stream; of one that came and left it is taken."""
    house = House()
    house.come(house.relay, "a")
    house.station.heard(house.relay, rm.ChildGone("a", 1), 0)
    mine = rm.RelayBlock("run", 1, (rm.RelayedRange("a", 1, 1, 1),), b"")
    house.station.heard(house.relay, mine, 0)
    assert house.heard_of[-1] == ("r", mine)
    stranger = rm.RelayBlock("run", 1, (rm.RelayedRange("b", 1, 1, 1),), b"")
    with pytest.raises(HostileData, match="never came by it"):
        house.station.heard(house.relay, stranger, 0)
    with pytest.raises(HostileData, match="under another name"):
        house.station.heard(house.relay, rm.ChildSaid("c", 1, m.Hello(1, 1, LAYOUT_ID, "a", 1), "ok"), 0)
    with pytest.raises(HostileData, match="second Hello"):
        house.station.heard(house.relay, house.relay.hello, 0)


def test_a_relay_that_is_gone_takes_its_agents_along() -> None:
    """The run is told of each, and of the relay; what it says afterwards is nothing."""
    house = House()
    for name in "ab":
        house.come(house.relay, name)
    house.fleet.detach_relay(house.relay)
    assert house.heard_of[-3:] == [
        ("relay", "the connection to relay r ended, and with it that of 2 agents"),
        ("detached", "a"),
        ("detached", "b"),
    ]
    before = list(house.heard_of)
    house.fleet.heard_block(house.relay, rm.RelayBlock("run", 1, (rm.RelayedRange("a", 1, 1, 1),), b""))
    assert house.heard_of == before


def test_between_runs_a_block_is_nobodys() -> None:
    """Its relay is told to forget it."""
    house = House()
    house.come(house.relay, "a")
    house.fleet.listener = None
    house.station.heard(house.relay, rm.RelayBlock("old", 4, (rm.RelayedRange("a", 1, 1, 1),), b""), 0)
    assert house.told(house.relay) == [rm.BlockAnswer(4, "again", (rm.RangeState("a", 1, 0, unwanted=True),))]


def test_a_relay_is_let_in_as_one_only_with_what_says_so() -> None:
    """Its certificate's name must be its own; in plaintext its identity must have been given to a relay."""
    fleet = Fleet()
    hello = rm.RelayHello(1, 1, LAYOUT_ID, "r", 5, identity="secret")
    assert fleet.judge_relay(hello, "r") is None
    assert fleet.judge_relay(hello, "other") is not None
    fleet.expect("secret", "r", local=False)
    refusal = fleet.judge_relay(hello)
    assert refusal is not None
    assert "role relay" in refusal.text
    fleet.expect("secret", "r", local=False, relay=True)
    assert fleet.judge_relay(hello) is None
    assert fleet.judge_relay(rm.RelayHello(9, 9, LAYOUT_ID, "r", 5, identity="secret")) is not None
