"""The queue of numbered snapshots: nothing lost, nothing counted twice, nothing in flight ever changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loadproof_agent.spool import Numbered, SnapshotQueue

UNSENT_MAX, IN_FLIGHT_MAX = 3, 2


def encode(counts: Counter[int]) -> bytes:
    return ",".join(f"{key}:{counts[key]}" for key in sorted(counts)).encode()


def decode(data: bytes) -> Counter[int]:
    return Counter({int(key): int(n) for key, n in (pair.split(":") for pair in data.decode().split(","))})


def add(a: Counter[int], b: Counter[int]) -> Counter[int]:
    return a + b


def queue() -> SnapshotQueue[Counter[int]]:
    return SnapshotQueue(merge=add, encode=encode, unsent_max=UNSENT_MAX, in_flight_max=IN_FLIGHT_MAX)


class QueueAgainstController(RuleBasedStateMachine):
    """A queue, a lossy and repeating way to a controller, and its acks on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = queue()
        self.recorded: Counter[int] = Counter()
        self.applied: Counter[int] = Counter()
        self.last = 0
        self.sent: dict[int, Numbered[bytes]] = {}
        self.way: list[Numbered[bytes]] = []
        self.acks: list[int] = []

    @rule(key=st.integers(0, 4))
    def record(self, key: int) -> None:
        self.recorded[key] += 1
        self.queue.push(Counter({key: 1}))

    @rule()
    def send(self) -> None:
        for block in self.queue.take():
            assert block.from_seq not in self.sent
            self.sent[block.from_seq] = block
            self.way.append(block)

    @rule()
    def resend(self) -> None:
        self.way.extend(self.queue.in_flight)

    @precondition(lambda self: self.way)
    @rule(data=st.data(), lose=st.booleans(), repeat=st.booleans())
    def arrive(self, data: st.DataObject, *, lose: bool, repeat: bool) -> None:
        position = data.draw(st.integers(0, len(self.way) - 1))
        block = self.way[position] if repeat else self.way.pop(position)
        if lose:
            return
        if block.from_seq == self.last + 1:
            self.applied += decode(block.payload)
            self.last = block.to_seq
        self.acks.append(self.last)

    @precondition(lambda self: self.acks)
    @rule(data=st.data(), repeat=st.booleans())
    def ack(self, data: st.DataObject, *, repeat: bool) -> None:
        position = data.draw(st.integers(0, len(self.acks) - 1))
        self.queue.ack(self.acks[position] if repeat else self.acks.pop(position))

    @invariant()
    def sent_blocks_keep_numbers_and_bytes(self) -> None:
        for block in self.queue.in_flight:
            assert self.sent[block.from_seq] == block

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        assert self.applied <= self.recorded

    @invariant()
    def it_stays_bounded(self) -> None:
        assert self.queue.unacked <= UNSENT_MAX + IN_FLIGHT_MAX
        assert self.queue.acked_seq <= self.last

    def teardown(self) -> None:
        """Heal: when the way works again, everything recorded arrives."""
        while self.queue.unacked:
            self.queue.take()
            for block in self.queue.in_flight:
                if block.from_seq == self.last + 1:
                    self.applied += decode(block.payload)
                    self.last = block.to_seq
                self.queue.ack(self.last)
        assert self.applied == self.recorded


TestQueue = QueueAgainstController.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def test_a_full_queue_merges_its_two_oldest_unsent() -> None:
    """Only resolution in time is lost, and the newest keep theirs."""
    q = queue()
    for key in range(5):
        q.push(Counter({key: 1}))
    blocks = []
    while q.unacked:
        blocks += q.take()
        q.ack(blocks[-1].to_seq)
    assert [(block.from_seq, block.to_seq) for block in blocks] == [(1, 3), (4, 4), (5, 5)]
    assert q.coalesced == 2


@pytest.mark.parametrize("seq", [0, 2, 99])
def test_acks_of_the_past_or_of_what_was_never_sent_change_nothing(seq: int) -> None:
    """An ack counts when it is above the last and not beyond what was sent."""
    q = queue()
    q.push(Counter({1: 1}))
    q.take()
    q.push(Counter({2: 1}))
    assert not q.ack(seq)
    assert q.unacked == 2


def test_an_ack_inside_a_block_keeps_the_block() -> None:
    """A block is applied whole or not at all, so half an ack is none."""
    q = SnapshotQueue(merge=add, encode=encode, unsent_max=1, in_flight_max=1)
    for key in range(3):
        q.push(Counter({key: 1}))
    (block,) = q.take()
    assert (block.from_seq, block.to_seq) == (1, 3)
    q.ack(2)
    assert q.in_flight == (block,)


@pytest.mark.parametrize("make", [lambda: SnapshotQueue(merge=add, encode=encode, unsent_max=0)])
def test_a_queue_without_room_is_refused(make: Callable[[], object]) -> None:
    """Bounds below 1 can't work."""
    with pytest.raises(ValueError, match="at least 1"):
        make()


def test_a_block_too_large_is_cut_and_the_numbers_behind_it_move_up() -> None:
    """Cut blocks are numbered without gaps, add up to what was pushed, and each fits."""
    q: SnapshotQueue[list[int]] = SnapshotQueue(
        merge=lambda a, b: a + b,
        encode=bytes,
        in_flight_max=20,
        split=lambda p: (p[: len(p) // 2], p[len(p) // 2 :]) if len(p) > 1 else None,
        bytes_max=3,
    )
    q.push(list(range(10)))
    q.push([10])
    blocks = q.take()
    assert all(len(block.payload) <= 3 for block in blocks)
    assert [n for block in blocks for n in block.payload] == list(range(11))
    numbers = [(block.from_seq, block.to_seq) for block in blocks]
    assert numbers == [(n, n) for n in range(1, len(blocks) + 1)]
    assert q.last_seq == len(blocks)
    assert q.ack(q.last_seq)
    assert q.unacked == 0


def test_what_cannot_be_cut_is_sent_whole() -> None:
    """Without a way to cut, or with nothing to halve, a large block goes as it is."""
    q: SnapshotQueue[list[int]] = SnapshotQueue(
        merge=lambda a, b: a + b, encode=bytes, split=lambda _payload: None, bytes_max=1
    )
    q.push([1, 2, 3])
    assert [block.payload for block in q.take()] == [bytes([1, 2, 3])]
