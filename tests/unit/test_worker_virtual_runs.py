"""Both runners in virtual time: whole runs, with users, limits and stops, that take no time and never flake."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from loadproof import Suite, VirtualUser
from loadproof.metrics import Delivery, Delta, MergedState, Recorder
from loadproof.plan import NS_PER_S, ArrivalPhase, ArrivalSchedule, DatasetPlan, Plan, TransactionPlan, UserPhase
from loadproof.runtime.context import RunContext
from loadproof_agent.worker.closed_model import ClosedRunner
from loadproof_agent.worker.open_model import OpenRunner
from loadproof_agent.worker.runner import Work
from virtual_time import run_virtual, virtual_loop, virtual_ns

Body = Callable[..., Awaitable[None]]
NEVER = 10**18


def open_plan(rate: int, seconds: int = 10, **fields: Any) -> Plan:
    phase = ArrivalPhase("steady", rate * 1000, rate * 1000, seconds * NS_PER_S)
    return Plan("S", "p", "open", (phase,), (TransactionPlan("T", 1),), **fields)


def closed_plan(users: int, seconds: int | None = 10, *, iterations: int | None = None, **fields: Any) -> Plan:
    phase = UserPhase("all", users, users, None if seconds is None else seconds * NS_PER_S, iterations)
    fields.setdefault("transactions", (TransactionPlan("T", 1),))
    return Plan("S", "p", "closed", (phase,), **fields)


class Scene:
    """One worker's run in virtual time. `act` may give orders while it goes on."""

    def __init__(
        self, plan: Plan, body: Body, *, user_start: Body | None = None, rows: list[Any] | None = None
    ) -> None:
        self.plan = plan
        self.suite = Suite("S")
        data = None if rows is None else self.suite.dataset("d", "d.csv", order="unique")
        self.suite.transaction("T", data=data)(body)  # type: ignore[call-overload]
        self.user_start = user_start
        self.rows = {} if rows is None else {"d": rows}
        self.recorder = Recorder(plan.seed, "a")
        self.delta = Delta()
        self.accounted: tuple[tuple[int, int, int], ...] = ()
        self.finished_s = self.ended_s = 0.0

    def run(
        self,
        act: Callable[[OpenRunner | ClosedRunner], Awaitable[None]] | None = None,
        *,
        shards: tuple[tuple[int, int], ...] = ((0, 0),),
        shard_count: int = 1,
        in_flight_max: int = 100_000,
        limit_s: float = 300,
    ) -> MergedState:
        run_virtual(self._run(act, shards, shard_count, in_flight_max, limit_s))
        state = MergedState()
        state.apply(self.delta)
        return state

    async def _run(self, act: Any, shards: Any, shard_count: int, in_flight_max: int, limit_s: float) -> None:
        engine: Any = None  # nobody makes a request
        zero_ns = virtual_ns()
        context = RunContext(engine=engine, clock=virtual_ns, zero_ns=zero_ns, user_start=self.user_start)
        definitions = [self.suite.transactions["T"]]
        work = Work(self.plan, shard_count, definitions, self.rows, context, self.recorder)
        runner = OpenRunner(work) if self.plan.model == "open" else ClosedRunner(work)
        runner.assign(shards, NEVER, in_flight_max)
        async with asyncio.timeout(limit_s), asyncio.TaskGroup() as group:
            running = group.create_task(runner.run())
            acting = group.create_task(act(runner)) if act is not None else None
            while not runner.finished or (acting is not None and not acting.done()):
                await asyncio.sleep(0.05)
                runner.sweep()
            self.finished_s = (virtual_ns() - zero_ns) / NS_PER_S
            running.cancel()
        self.ended_s = (virtual_ns() - zero_ns) / NS_PER_S
        self.accounted = runner.accounted()
        self.delta = self.recorder.take(0, virtual_ns() - zero_ns, runner.in_flight_by_name())


def counted(state: MergedState, phase: str = "steady") -> Delivery:
    return state.delivery["T", phase]


def test_a_frozen_target_shows_in_response_time_as_the_schedule_says() -> None:
    """Coordinated omission: a target frozen for 2 s of 10 s at 200/s. Response time is what the schedule says; the
    service time of users who are served one at a time, as in the closed model, shows only the frozen few.
    """
    freeze, thaw = 4.0, 6.0

    async def ask(user: VirtualUser) -> None:
        now = virtual_loop().time() - 1000.0
        await asyncio.sleep(0.010 + (thaw - now if freeze <= now < thaw else 0.0))

    open_state = Scene(open_plan(200), ask).run()
    schedule = ArrivalSchedule(open_plan(200))
    times_s = [schedule.time_ns(k) / NS_PER_S for k in range(schedule.total)]
    expected = sorted(0.010 + (thaw - at if freeze <= at < thaw else 0.0) for at in times_s)
    response = open_state.histogram("T")
    assert response.n == 2000
    for quantile in (0.5, 0.85, 0.9, 0.95, 0.99):
        wanted_us = expected[math.ceil(quantile * 2000) - 1] * 1e6
        found_us = response.quantile(quantile)
        assert found_us is not None
        assert abs(found_us - wanted_us) < 6_000  # two arrivals' distance and one tick
    assert expected[math.ceil(0.9 * 2000) - 1] > 0.9

    closed_state = Scene(closed_plan(2), ask).run()
    service = closed_state.histogram("T", measure="service")
    assert service.n - service.count_at_or_below(1_000_000) == 2
    assert service.quantile(0.99) < 20_000  # type: ignore[operator]


def test_a_generator_that_stands_still_counts_in_response_not_in_service_time() -> None:
    """0.8 s of a blocked loop: late starts whose response time has the delay, and service times that know nothing."""

    async def work(user: VirtualUser) -> None:
        await asyncio.sleep(0.005)

    async def block(_runner: Any) -> None:
        await asyncio.sleep(2.0)
        virtual_loop().advance(0.8)

    state = Scene(open_plan(100, 5), work).run(block)
    delivery = counted(state)
    assert (delivery.started, delivery.completed, delivery.missed) == (500, 500, 0)
    assert 68 <= delivery.late <= 72
    assert state.histogram("T").max_us > 790_000
    assert state.histogram("T", measure="service").quantile(0.98) < 10_000  # type: ignore[operator]


def test_every_arrival_is_accounted_for_when_the_target_is_too_slow() -> None:
    """With a limit of 20 in flight and 1 s of service, 20 start each second and the rest is dropped, none is lost."""

    async def slow(user: VirtualUser) -> None:
        await asyncio.sleep(1.0)

    scene = Scene(open_plan(100, 5), slow)
    delivery = counted(scene.run(in_flight_max=20))
    assert delivery.started + delivery.dropped + delivery.missed == 500
    assert delivery.started == delivery.completed
    assert 95 <= delivery.started <= 105
    assert scene.accounted == ((0, 0, 500),)
    seconds = [stats for (_, name), stats in scene.delta.seconds.items() if name == "T"]
    assert sum(stats.started for stats in seconds) == delivery.started
    assert sum(stats.dropped for stats in seconds) == delivery.dropped
    assert sum(stats.completed for stats in seconds) == delivery.completed


def test_two_workers_share_the_load_exactly() -> None:
    """The union of what two holders of shards start is the plan."""
    seen: list[int] = []

    async def note(user: VirtualUser) -> None:
        seen.append(user._scope.k)

    for shards in (((0, 0), (2, 0)), ((1, 0),)):
        Scene(open_plan(40, 3), note).run(shards=shards, shard_count=3)
    assert sorted(seen) == list(range(120))


def test_users_are_kept_between_arrivals_or_new_for_each() -> None:
    """`session = "keep"` reuses idle users and their state; "new" makes one per arrival, started each time."""
    for session, users in (("keep", 1), ("new", 30)):
        ids: set[int] = set()
        starts: list[int] = []

        async def note(user: VirtualUser, ids: set[int] = ids) -> None:
            ids.add(user.id)

        async def start(user: VirtualUser, starts: list[int] = starts) -> None:
            starts.append(user.id)

        Scene(open_plan(10, 3, session=session), note, user_start=start).run()
        assert (len(ids), len(starts)) == (users, users)


def test_a_user_that_cannot_start_is_replaced_at_the_next_arrival() -> None:
    """Each arrival that needs a new user tries again; the failed ones fail at "(user start)"."""
    attempts: list[int] = []

    async def start(user: VirtualUser) -> None:
        attempts.append(user.id)
        user.check("may sign in", len(attempts) > 2)

    async def fine(user: VirtualUser) -> None:
        return

    state = Scene(open_plan(10, 1), fine, user_start=start).run()
    assert attempts == [0, 1, 2]
    assert (counted(state).completed, counted(state).failed) == (10, 2)
    assert {key.step for key in state.errors} == {"(user start)"}


def test_a_stop_lets_run_what_runs_and_then_cancels_it() -> None:
    """After the grace time what is still in flight is cancelled, counted as failed, and the run ends."""

    async def hang(user: VirtualUser) -> None:
        async with user.step("Wait"):
            await asyncio.sleep(3600)

    async def stop(runner: Any) -> None:
        await asyncio.sleep(1.95)
        runner.stop(1_950_000_000, immediate=False)

    scene = Scene(open_plan(10, 60, graceful_stop_ns=5 * NS_PER_S), hang)
    state = scene.run(stop)
    assert 6.95 <= scene.ended_s < 7.2
    assert (counted(state).started, counted(state).completed, counted(state).failed) == (20, 20, 20)
    assert {(key.category, key.step) for key in state.errors} == {("cancelled", "Wait")}
    assert scene.accounted == ((0, 0, 20),)


def test_an_immediate_stop_cancels_at_once() -> None:
    """Nothing waits for the grace time."""

    async def hang(user: VirtualUser) -> None:
        await asyncio.sleep(3600)

    async def stop(runner: Any) -> None:
        await asyncio.sleep(2.0)
        runner.stop(2 * NS_PER_S, immediate=True)

    for plan in (open_plan(10, 60), closed_plan(5, 60)):
        scene = Scene(plan, hang)
        state = scene.run(stop)
        assert scene.ended_s < 2.5
        delivery = next(iter(state.delivery.values()))
        assert delivery.started == delivery.completed == delivery.failed > 0


def test_what_will_not_be_cancelled_is_counted_and_left_behind() -> None:
    """User code that swallows its cancellation cannot keep a run from ending."""

    async def stubborn(user: VirtualUser) -> None:
        for _ in range(50):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def stop(runner: Any) -> None:
        await asyncio.sleep(1.0)
        runner.stop(NS_PER_S, immediate=True)

    for plan, phase in ((open_plan(1, 60), "steady"), (closed_plan(1, 60), "all")):
        scene = Scene(plan, stubborn)
        state = scene.run(stop, limit_s=10_000)
        delivery = counted(state, phase)
        assert delivery.started == delivery.completed == delivery.failed == 1
        assert scene.finished_s < 1 + 5 + 0.5


def test_closed_users_repeat_as_fast_as_their_pace_allows() -> None:
    """Three users with a pace of 2 s start five iterations each in ten seconds."""

    async def quick(user: VirtualUser) -> None:
        await asyncio.sleep(0.1)

    scene = Scene(closed_plan(3, pace_ns=2 * NS_PER_S), quick)
    state = scene.run()
    assert counted(state, "all").started == counted(state, "all").completed == 15
    assert scene.accounted == ((0, 0, 15),)
    response, service = state.histogram("T"), state.histogram("T", measure="service")
    assert response.counts().counts.tolist() == service.counts().counts.tolist()


def test_closed_iterations_are_exactly_as_many_as_planned() -> None:
    """A number of iterations ends the profile, however long it takes."""

    async def quick(user: VirtualUser) -> None:
        await user.think(1.0)

    state = Scene(closed_plan(4, None, iterations=10), quick).run()
    assert counted(state, "all").completed == 10


def test_a_closed_user_without_rows_stops_or_fails() -> None:
    """`unique` rows are drawn once each; then the user stops, with on_exhausted = "fail" after a failed iteration."""
    for choice, failed in (("stop", 0), ("fail", 2)):
        drawn: list[str] = []

        async def draw(user: VirtualUser, row: str, drawn: list[str] = drawn) -> None:
            drawn.append(row)
            await asyncio.sleep(0.1)

        datasets = (DatasetPlan("d", "0" * 64, 5, "unique", choice),)  # type: ignore[arg-type]
        plan = closed_plan(2, transactions=(TransactionPlan("T", 1, dataset="d"),), datasets=datasets)
        scene = Scene(plan, draw, rows=list("abcde"))
        state = scene.run()
        assert sorted(drawn) == list("abcde")
        assert counted(state, "all").failed == failed
        assert scene.delta.exhausted == {"d": 2}
        assert scene.delta.draws == {"d": 5}


def test_a_closed_user_that_outlives_its_phase_is_cancelled_after_the_grace_time() -> None:
    """Ramp-down is graceful, with a limit."""

    async def hang(user: VirtualUser) -> None:
        await asyncio.sleep(3600)

    scene = Scene(closed_plan(2, 5, graceful_stop_ns=3 * NS_PER_S), hang)
    state = scene.run()
    assert 8.0 <= scene.ended_s < 8.5
    assert {key.category for key in state.errors} == {"cancelled"}


def test_a_closed_user_without_a_lease_pauses() -> None:
    """No iteration starts after the lease; it goes on when the lease is renewed."""
    starts: list[float] = []

    async def quick(user: VirtualUser) -> None:
        starts.append(virtual_loop().time() - 1000.0)
        await asyncio.sleep(0.5)

    async def lapse(runner: Any) -> None:
        runner.renew(virtual_ns() + 2 * NS_PER_S)
        await asyncio.sleep(5.0)
        runner.renew(NEVER)

    Scene(closed_plan(1), quick).run(lapse)
    assert not [at for at in starts if 2.0 <= at < 5.0]
    assert [at for at in starts if at >= 5.0]


def test_a_transaction_that_never_waits_does_not_starve_the_others() -> None:
    """Users without any await still take turns and end with their phase."""
    seen: set[int] = set()

    async def busy(user: VirtualUser) -> None:
        seen.add(user.id)
        virtual_loop().advance(0.001)

    Scene(closed_plan(3, 1), busy).run()
    assert seen == {0, 1, 2}


def test_shards_taken_away_end_their_users_after_what_they_run() -> None:
    """The users of a shard that goes finish their iteration and start no other; the rest lives on."""
    starts: list[tuple[int, float]] = []

    async def quick(user: VirtualUser) -> None:
        starts.append((user.id, virtual_loop().time() - 1000.0))
        await asyncio.sleep(0.7)

    async def take(runner: Any) -> None:
        await asyncio.sleep(3.0)
        runner.assign(((0, 0),), NEVER, 100)

    scene = Scene(closed_plan(4), quick)
    scene.run(take, shards=((0, 0), (1, 0)), shard_count=2)
    assert {user for user, at in starts if at > 3.0} == {0, 2}
    assert [shard for shard, _, _ in scene.accounted] == [0]
