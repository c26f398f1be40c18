"""Reservations of the closed model: nothing is begun before it is on record, and nothing is begun twice."""

from __future__ import annotations

import dataclasses
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.plan import NS_PER_S, DatasetPlan, Plan, TransactionPlan, UserPhase, UserSchedule
from loadproof_agent.continuing import Continuations
from loadproof_agent.records import UserDraws
from loadproof_agent.worker.reservations import BLOCK_FIRST, BLOCK_MAX, Reservations
from loadproof_agent.worker.users import UserLife
from loadproof_controller import messages as m
from loadproof_controller.machine.config import MachineConfig
from loadproof_controller.machine.leasing import LeaseBook
from loadproof_controller.machine.members import Member

PLAN = Plan(
    "S",
    "p",
    "closed",
    (UserPhase("count", 6, 6, None, 3_000),),
    (TransactionPlan("A", 3, dataset="d"), TransactionPlan("B", 2), TransactionPlan("C", 1, dataset="d")),
    (DatasetPlan("d", "0" * 64, 100_000, "unique"),),
)
SCHEDULE = UserSchedule(PLAN)
SHARDS = 3


def test_nothing_is_begun_before_it_is_on_record() -> None:
    """The first block is asked for at once; until it is granted the user waits, and asks no second time."""
    reservations = Reservations(SCHEDULE)
    reservations.enter(2, 0)
    assert [reservations.may_begin(2, 0, now) for now in range(3)] == [False] * 3
    assert reservations.take() == ((2, BLOCK_FIRST),)
    assert reservations.take() == ()
    reservations.granted(2, BLOCK_FIRST)
    assert reservations.may_begin(2, BLOCK_FIRST - 1, 3)
    assert not reservations.may_begin(2, BLOCK_FIRST, 4)


def test_more_is_asked_for_while_a_block_is_left() -> None:
    """A user whose requests are answered within a block never waits."""
    reservations, waited = Reservations(SCHEDULE), 0
    reservations.enter(0, 0)
    answers: list[tuple[int, int]] = []
    for iteration in range(400):
        while not reservations.may_begin(0, iteration, iteration * NS_PER_S // 100):
            waited += 1
            for user, upto in reservations.take():
                reservations.granted(user, upto)
        for user, upto in answers:
            reservations.granted(user, upto)
        answers = list(reservations.take())
    assert waited == 1


@pytest.mark.parametrize(("every_s", "block"), [(0.001, BLOCK_MAX), (3.0, BLOCK_FIRST), (60.0, 1)])
def test_a_block_is_as_large_as_a_user_needs(every_s: float, block: int) -> None:
    """What a user that is taken over loses is what it would have run in seconds, at most two hundred iterations."""
    reservations, sizes, asked = Reservations(SCHEDULE), [], 0
    reservations.enter(0, 0)
    for iteration in range(450):
        reservations.may_begin(0, iteration, int(iteration * every_s * NS_PER_S))
        for user, upto in reservations.take():
            sizes.append(upto - asked)
            asked = upto
            reservations.granted(user, upto)
    if block != BLOCK_FIRST:
        assert sizes[-2] == block
    assert max(sizes) <= BLOCK_MAX


def test_a_user_reserves_no_more_than_it_is_to_run() -> None:
    """A profile of 3,000 iterations over 6 users gives each 500."""
    reservations = Reservations(SCHEDULE)
    reservations.enter(0, 498)
    reservations.may_begin(0, 498, 0)
    assert reservations.take() == ((0, 500),)


@given(st.integers(0, 5), st.integers(0, 60))
def test_a_user_that_goes_on_draws_what_it_would_have_drawn(user: int, first: int) -> None:
    """Going on at an iteration is the same as having run all before it."""
    straight = UserLife(PLAN, SCHEDULE, user)
    for _ in range(first):
        straight.begin(0)
    later = UserLife(PLAN, SCHEDULE, user, first)
    assert [later.begin(0) for _ in range(8)] == [straight.begin(0) for _ in range(8)]


class Worker:
    """Users of some shards in one process of an agent, until it dies."""

    def __init__(self, agent: Agent, shards: list[int]) -> None:
        self.agent = agent
        self.reservations = Reservations(SCHEDULE)
        self.lives: dict[int, UserLife] = {}
        self.take_over(shards)

    def take_over(self, shards: list[int]) -> None:
        points = dict(self.agent.continuing.of(shards))
        for shard in shards:
            for user in SCHEDULE.shard_users(shard, SHARDS):
                first = points.get(user, 0)
                self.reservations.enter(user, first)
                self.lives[user] = UserLife(PLAN, SCHEDULE, user, first)


class Agent:
    """An agent and its member record at the controller; messages to the controller wait in `mail`."""

    def __init__(self, name: str) -> None:
        self.member = Member(name, 1, 1, 1000, local=False)
        self.continuing = Continuations(len(PLAN.datasets), SHARDS)
        self.mail: list[tuple[Worker, tuple[UserDraws, ...]]] = []
        self.worker: Worker | None = None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_iteration_is_run_twice_and_no_row_used_twice_whoever_dies(seed: int) -> None:
    """Workers die, agents are lost with mail under way, shards move; what is missing was reserved, and is counted."""
    random, now_ns = Random(seed), 0
    book = LeaseBook(MachineConfig("run", 3, arrivals_before=None))
    agents = [Agent(name) for name in "abc"]
    book.deal_all([agent.member for agent in agents], SHARDS)
    for agent in agents:
        agent.worker = Worker(agent, [grant.shard for grant in agent.member.grants])
    ran: Counter[tuple[int, int]] = Counter()
    rows: Counter[int] = Counter()
    ran_by: Counter[str] = Counter()
    died = lost_here = 0
    for _ in range(400):
        now_ns += random.choice((1, 1_000_000, NS_PER_S))
        agent = random.choice(agents)
        worker = agent.worker
        assert worker is not None
        what = random.random()
        if what < 0.7 and worker.lives:
            life = worker.lives[random.choice(sorted(worker.lives))]
            if life.next_ns(now_ns, None) is not None and worker.reservations.may_begin(
                life.user, life.iteration, now_ns
            ):
                iteration = life.begin(now_ns)
                ran[life.user, iteration.number] += 1
                rows[iteration.row] += iteration.row >= 0
                ran_by[agent.member.agent_id] += 1
            points = worker.reservations.take()
            if points:
                agent.mail.append((worker, agent.continuing.asked(points)))
        elif what < 0.9 and agent.mail:
            sender, draws = agent.mail.pop(0)
            logged = book.reserve(agent.member, [m.UserDraws(**dataclasses.asdict(draw)) for draw in draws])
            if logged and agent.worker is not None:
                for user, upto in agent.continuing.points(draws):
                    agent.worker.reservations.granted(user, upto)
            assert sender.agent is agent
        elif what < 0.93:
            shards = [grant.shard for grant in agent.member.grants]
            lost_here += agent.continuing.died(shards)
            agent.worker = Worker(agent, shards)
        elif what < 0.95 and len(agents) > 1:
            agents.remove(agent)
            died += 1
            book.redeal(agent.member, [other.member for other in agents], 0)
            for heir in agents:
                assert heir.worker is not None
                held = {user % SHARDS for user in heir.worker.lives}
                for grant in heir.member.grants:
                    heir.continuing.granted(UserDraws(draw.user, draw.dataset, draw.draws) for draw in grant.draws)
                heir.worker.take_over([grant.shard for grant in heir.member.grants if grant.shard not in held])
            assert ran_by[agent.member.agent_id] <= agent.member.forfeited
    assert set(ran.values()) <= {1}
    assert max(rows.values(), default=0) <= 1
