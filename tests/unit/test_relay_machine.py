"""A relay's decisions: it merges, it names what it merged, and it says nothing the controller has not said."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.metrics import MergedState, decode_block, decode_delta, encode_delta, series_totals, sums_of
from loadproof_agent import records as r
from loadproof_agent.relay import events as e
from loadproof_agent.relay import records as rr
from metrics_samples import recorded
from relay_driver import RUN, RelayDriver, S


def data(seed: int) -> bytes:
    """Return an encoded delta with every kind of record in it."""
    return encode_delta(recorded(seed, samples=5))


def named(block: rr.RelayBlock) -> list[tuple[str, int, int]]:
    """Return agent, first and last number of each range."""
    return [(where.agent_id, where.from_seq, where.to_seq) for where in block.ranges]


def test_a_block_names_what_is_merged_in_it_and_children_are_acked_after_its_answer() -> None:
    """Two children, three deltas, one block; nobody is acked before the controller has applied it."""
    relay = RelayDriver()
    relay.attach("a", "b")
    out = [*relay.snapshot("a", 1, data(1)), *relay.snapshot("b", 4, data(2)), *relay.snapshot("b", 5, data(3))]
    block = relay.block()
    assert block is not None
    assert named(block) == [("a", 1, 1), ("b", 4, 5)]
    assert relay.acks(out) == {}
    merged = MergedState()
    merged.apply(decode_delta(block.delta))
    direct = MergedState()
    direct.apply_all([decode_block(data(seed)) for seed in (1, 2, 3)])
    assert merged.digest() == direct.digest()
    assert relay.acks(relay.answer(block.number)) == {"a": 1, "b": 5}
    assert relay.block() is None


def test_each_range_says_what_its_agent_counted() -> None:
    """The ranges' sums are those of the children's own deltas, and add up to the block's."""
    relay = RelayDriver()
    relay.attach("a", "b")
    relay.snapshot("a", 1, data(1))
    relay.snapshot("b", 1, data(2))
    block = relay.block()
    assert block is not None
    for where, seed in zip(block.ranges, (1, 2), strict=True):
        assert (where.n, where.total, where.checksum) == sums_of(series_totals(decode_delta(data(seed))))


def test_one_block_is_on_its_way_at_a_time_and_is_repeated_as_it_was() -> None:
    """What comes meanwhile waits for the answer; without one the same block goes out again after 5 s."""
    relay = RelayDriver()
    relay.attach("a")
    relay.snapshot("a", 1, data(1))
    first = relay.block()
    relay.snapshot("a", 2, data(2))
    assert relay.block() is None
    assert relay.block(5.0) == first
    assert first is not None
    relay.answer(first.number + 7)
    assert relay.block() is None
    relay.answer(first.number)
    again = relay.block()
    assert again is not None
    assert named(again) == [("a", 2, 2)]


def test_after_a_refusal_the_next_block_is_made_of_what_still_follows() -> None:
    """The controller had 1 of a through another relay: it is acked, the rest travels again, at once."""
    relay = RelayDriver()
    relay.attach("a", "b")
    relay.snapshot("a", 1, data(1))
    relay.snapshot("a", 2, data(2))
    relay.snapshot("b", 1, data(3))
    block = relay.block()
    assert block is not None
    out = relay.answer(block.number, "again", rr.RangeState("a", 7, 1), rr.RangeState("b", 7, 0))
    assert relay.acks(out) == {"a": 1}
    again = relay.block(0)
    assert again is not None
    assert named(again) == [("a", 2, 2), ("b", 1, 1)]


def test_what_does_not_follow_is_left_to_its_child() -> None:
    """A gap at the controller, or an agent it does not want, empties what is held; the child keeps its copy."""
    relay = RelayDriver()
    relay.attach("a", "b")
    relay.snapshot("a", 3, data(1))
    relay.snapshot("b", 1, data(2))
    block = relay.block()
    assert block is not None
    relay.answer(block.number, "again", rr.RangeState("a", 7, 1), rr.RangeState("b", 7, 0, unwanted=True))
    assert relay.block() is None
    relay.snapshot("a", 3, data(1))
    assert relay.block() is None, "a gap again"
    relay.snapshot("a", 2, data(4))
    relay.snapshot("a", 3, data(1))
    filled = relay.block()
    assert filled is not None
    assert named(filled) == [("a", 2, 3)]


def test_two_processes_of_one_name_are_never_in_one_block() -> None:
    """An agent that was started anew measures while numbers of its old process still wait: the old ones go first."""
    relay = RelayDriver()
    relay.attach("a")
    relay.snapshot("a", 1, data(1))
    newer = r.Hello(1, 1, "layout", "a", 8)
    relay.feed(e.ChildSpoke(50, newer, b"hello"))
    lease = r.Lease(RUN, 1, (r.ShardGrant(0),), 15_000)
    relay.feed(e.Heard(rr.ChildTold("a", 8, lease), lease))
    relay.feed(e.ChildSpoke(50, r.SnapshotBlock(RUN, (r.SnapshotRange("a", 8, 1, 1),), data(2)), b""))
    first = relay.block()
    assert first is not None
    assert [(where.agent_id, where.epoch) for where in first.ranges] == [("a", 7)]
    relay.answer(first.number)
    second = relay.block()
    assert second is not None
    assert [(where.agent_id, where.epoch) for where in second.ranges] == [("a", 8)]


def test_reservations_pass_one_by_one_and_are_granted_to_who_asked() -> None:
    """They wait for no block and are nobody else's; where the relay dies the agent asks another under its number."""
    relay = RelayDriver()
    relay.attach("a", "b")
    relay.snapshot("a", 1, data(1))
    for name, link in relay.links.items():
        out = relay.feed(e.ChildSpoke(link, None, f"reserve of {name}"))
        assert relay.sent(out) == [rr.ChildSaid(name, 7, f"reserve of {name}")]
    out = relay.feed(e.Heard(rr.ChildTold("b", 7, "reserved"), None))
    assert out == [e.SendChild(relay.links["b"], "reserved")]
    ended = relay.feed(e.UplinkClosed())
    assert {i.link for i in ended if isinstance(i, e.EndChild)} == set(relay.links.values())


def test_a_block_that_cannot_be_is_sent_again_in_parts_so_that_it_falls_on_one() -> None:
    """Each child's deltas then travel alone, as they came; who is applied joins the others again."""
    relay = RelayDriver()
    relay.attach("a", "b")
    relay.snapshot("a", 1, data(1))
    relay.snapshot("b", 1, data(2))
    block = relay.block()
    assert block is not None
    relay.answer(block.number, "data")
    alone = relay.block(0)
    assert alone is not None
    assert (named(alone), alone.delta) == ([("a", 1, 1)], data(1))
    relay.answer(alone.number)
    other = relay.block()
    assert other is not None
    assert named(other) == [("b", 1, 1)]
    relay.answer(other.number, "data")
    assert relay.block() is None, "it is the controller that puts b out"
    relay.snapshot("a", 2, data(3))
    assert relay.block() is not None


def test_what_cannot_be_read_goes_to_the_controller_as_it_came() -> None:
    """The relay judges nobody: rubbish travels alone, under its sender's name."""
    relay = RelayDriver()
    relay.attach("a", "b")
    relay.snapshot("a", 1, b"rubbish")
    relay.snapshot("b", 1, data(2))
    block = relay.block()
    assert block is not None
    assert (named(block), block.delta) == ([("a", 1, 1)], b"rubbish")


def test_a_broken_uplink_ends_every_child_and_is_forgotten() -> None:
    """Children come back and say again what was not acked; none is let in before the controller is heard."""
    relay = RelayDriver()
    relay.attach("a", "b")
    relay.snapshot("a", 1, data(1))
    assert relay.feed(e.UplinkClosed()) == [e.EndChild(relay.links["a"]), e.EndChild(relay.links["b"])]
    assert relay.feed(e.ChildSpoke(77, r.Hello(1, 1, "layout", "a", 7), b"hello")) == [e.EndChild(77)]
    relay.feed(e.UplinkOpened())
    relay.feed(e.Heard(rr.RelayWelcome(1)))
    relay.attach("a")
    assert relay.block() is None
    relay.snapshot("a", 1, data(1))
    block = relay.block()
    assert block is not None
    assert (block.number, named(block)) == (1, [("a", 1, 1)])


def test_what_a_child_that_left_had_handed_over_is_still_delivered() -> None:
    """Its acks go nowhere, and then the relay forgets it."""
    relay = RelayDriver()
    relay.attach("a")
    relay.snapshot("a", 1, data(1))
    assert relay.sent(relay.feed(e.ChildLeft(relay.links["a"]))) == [rr.ChildGone("a", 7)]
    block = relay.block()
    assert block is not None
    assert relay.answer(block.number) == []
    assert relay.machine.children == {}


def test_a_child_that_comes_again_replaces_its_older_stream() -> None:
    """What was held of it is kept, and what it repeats is not taken twice."""
    relay = RelayDriver()
    relay.attach("a")
    relay.snapshot("a", 1, data(1))
    old = relay.links["a"]
    relay.attach("a")
    assert e.EndChild(old) in relay.did
    relay.snapshot("a", 1, data(1))
    relay.snapshot("a", 2, data(2))
    block = relay.block()
    assert block is not None
    assert named(block) == [("a", 1, 2)]


def test_a_child_speaks_for_itself_only() -> None:
    """A snapshot in another's name costs it its stream."""
    relay = RelayDriver()
    relay.attach("a", "b")
    where = r.SnapshotRange("b", 7, 1, 1)
    out = relay.feed(e.ChildSpoke(relay.links["a"], r.SnapshotBlock(RUN, (where,), data(1)), b""))
    assert [type(instruction) for instruction in out] == [e.EndChild]
    assert relay.block() is None


def test_everything_else_passes_as_it_is() -> None:
    """Finals and answers go up, orders go down, untouched; a word for a stranger goes nowhere."""
    relay = RelayDriver()
    relay.attach("a")
    assert relay.sent(relay.feed(e.ChildSpoke(relay.links["a"], None, b"final"))) == [rr.ChildSaid("a", 7, b"final")]
    assert relay.feed(e.Heard(rr.ChildTold("a", 7, b"start"))) == [e.SendChild(relay.links["a"], b"start")]
    assert relay.feed(e.Heard(rr.ChildTold("a", 8, b"start"))) == []
    assert relay.feed(e.Heard(rr.ChildClosed("a", 7))) == [e.EndChild(relay.links["a"])]


def test_heartbeats_go_up_together_and_only_the_newest_of_each() -> None:
    """Readings of workers are taken together; what is not news is not said."""
    relay = RelayDriver()
    relay.attach("a", "b")
    workers = (r.WorkerReading(0, 1, 0, 3, 400, 10, 50), r.WorkerReading(1, 2, 0, 4, 300, 20, 40))
    for at in (5, 6):
        relay.feed(e.ChildSpoke(relay.links["a"], r.Heartbeat(RUN, at, workers, 2, 111), b""))
    (beats,) = relay.sent(relay.feed(e.Tick(), 1))
    assert beats == rr.RelayBeats((rr.ChildBeat("a", 7, RUN, 6, 7, 400, 20, 40, 111, 2),))
    assert relay.feed(e.Tick(), 1) == []


@pytest.mark.parametrize(("lease_ms", "pause_s"), [(15_000, 3), (10_000, 2), (60_000, 3), (2_000, 1)])
def test_heartbeats_go_up_six_times_a_lease(lease_ms: int, pause_s: int) -> None:
    """Each second before there is a lease and after the run; then as often as leases are renewed, at least each 3 s."""
    relay = RelayDriver()
    relay.attach("a")

    def pauses(seconds: int) -> list[int]:
        came = []
        for second in range(seconds):
            relay.feed(e.ChildSpoke(relay.links["a"], r.Heartbeat(RUN, second, (), 0, 0), b""))
            if relay.sent(relay.feed(e.Tick(), 1)):
                came.append(second)
        return [after - before for before, after in pairwise(came)]

    relay.told("a", r.Lease(RUN, 1, (r.ShardGrant(0),), lease_ms))
    assert set(pauses(10)) == {pause_s}
    relay.told("a", r.End(RUN))
    assert set(pauses(6)[1:]) == {1}


def test_a_lease_that_lasts_on_is_the_one_the_child_has_from_the_echo_the_controller_named() -> None:
    """Of another fence, or for a child without a lease, a renewal says nothing."""
    relay = RelayDriver()
    relay.attach("a")
    renewals = (rr.Renewal("a", 7, 1, 55), rr.Renewal("a", 7, 2, 66), rr.Renewal("b", 7, 1, 77))
    out = relay.feed(e.Heard(rr.Renewals(RUN, 15_000, renewals)))
    assert out == [e.SendChild(relay.links["a"], r.Lease(RUN, 1, (r.ShardGrant(0),), 15_000, 55))]


def test_numbers_begin_anew_with_each_run() -> None:
    """What is held of an earlier run is forgotten with it."""
    relay = RelayDriver()
    relay.attach("a")
    relay.snapshot("a", 1, data(1))
    relay.told("a", r.End(RUN))
    assert relay.block() is None
    relay.snapshot("a", 1, data(2))
    block = relay.block()
    assert block is not None
    assert (named(block), block.delta) == ([("a", 1, 1)], data(2))


def test_a_full_relay_and_a_large_backlog_are_bounded() -> None:
    """A child beyond the limit is sent elsewhere; a block takes what fits, and always something."""
    relay = RelayDriver(children_max=2, block_bytes_max=len(data(1)) + 10)
    relay.attach("a", "b")
    assert relay.feed(e.ChildSpoke(50, r.Hello(1, 1, "layout", "c", 7), b"hello")) == [e.EndChild(50)]
    for seq in range(1, 20):
        relay.snapshot("a", seq, data(seq))
    relay.snapshot("b", 1, data(1))
    assert len(relay.machine.children["a", 7].held) == 8
    block = relay.block()
    assert block is not None
    assert named(block) == [("a", 1, 1)]


class Head:
    """A controller in short: it applies a block whole if every range is next, else says where each agent stands."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.merged = MergedState()

    def take(self, block: rr.RelayBlock) -> rr.BlockAnswer:
        """Judge a block."""
        if all(where.to_seq <= self.last.get(where.agent_id, 0) for where in block.ranges):
            return rr.BlockAnswer(block.number, "applied")
        if all(where.from_seq == self.last.get(where.agent_id, 0) + 1 for where in block.ranges):
            self.merged.apply(decode_delta(block.delta))
            self.last.update({where.agent_id: where.to_seq for where in block.ranges})
            return rr.BlockAnswer(block.number, "applied")
        states = [rr.RangeState(where.agent_id, 7, self.last.get(where.agent_id, 0)) for where in block.ranges]
        return rr.BlockAnswer(block.number, "again", tuple(states))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "block", "answer", "repeat", "break"]), st.integers(0, 2), st.booleans()
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_the_digest_is_that_of_the_deltas_without_relays(steps: list[tuple[str, int, bool]]) -> None:
    """Children send, move between two relays and repeat; answers get lost, uplinks break: the sum stays the same."""
    relays = [RelayDriver(), RelayDriver()]
    names = ["a", "b", "c"]
    for relay in relays:
        relay.attach(*names)
    head = Head()
    made: dict[str, list[bytes]] = {name: [] for name in names}
    seeds = iter(range(1_000))
    waiting: dict[int, rr.RelayBlock | None] = {0: None, 1: None}

    def resend(relay: RelayDriver, name: str) -> None:
        for seq in range(head.last.get(name, 0) + 1, len(made[name]) + 1):
            relay.snapshot(name, seq, made[name][seq - 1])

    def answer(index: int) -> None:
        block = waiting[index]
        if block is not None:
            acked = relays[index].acks(relays[index].feed(e.Heard(head.take(block))))
            assert all(seq <= head.last[name] for name, seq in acked.items())
            waiting[index] = None

    for what, which, other in steps:
        index, name = int(other), names[which]
        relay = relays[index]
        if what == "send":
            made[name].append(data(next(seeds)))
            relay.snapshot(name, len(made[name]), made[name][-1])
        elif what == "block":
            waiting[index] = waiting[index] or relay.block()
        elif what == "answer":
            answer(index)
        elif what == "repeat":
            resend(relay, name)
        else:
            relay.feed(e.UplinkClosed())
            relay.feed(e.UplinkOpened())
            relay.feed(e.Heard(rr.RelayWelcome(1)))
            relay.attach(*names)
            waiting[index] = None
    for _ in range(12):
        for name in names:
            resend(relays[0], name)
        waiting[0] = waiting[0] or relays[0].block(6.0)
        answer(0)
    assert head.last == {name: len(blocks) for name, blocks in made.items() if blocks}
    direct = MergedState()
    direct.apply_all([decode_block(block) for blocks in made.values() for block in blocks])
    assert head.merged.digest() == direct.digest()


def test_time_alone_makes_a_relay_say_nothing() -> None:
    """Without children and without the controller it has no word of its own."""
    relay = RelayDriver()
    assert [out for _ in range(20) if (out := relay.feed(e.Tick(), 1.0))] == []
    assert relay.now > 119 * S
