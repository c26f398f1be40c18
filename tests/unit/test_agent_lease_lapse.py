"""What a worker's pacer does with arrivals that fall due while its lease is over."""

from __future__ import annotations

from loadproof.plan import NS_PER_S, ArrivalPhase, ArrivalSchedule, Plan, TransactionPlan
from loadproof_agent.worker.arrivals import ArrivalQueue, OpenPacer

PLAN = Plan(
    suite="Shop",
    profile="p",
    model="open",
    phases=(ArrivalPhase("all", 10_000, 10_000, 10 * NS_PER_S),),
    transactions=(TransactionPlan("Browse", 1),),
)


class Bench:
    def __init__(self) -> None:
        self.now_ns = 0
        self.decided: list[tuple[str, int]] = []
        self.queue = ArrivalQueue(ArrivalSchedule(PLAN), 1)
        self.queue.assign([(0, 0)])
        self.pacer = OpenPacer(self.queue, lambda: self.now_ns, 0)
        self.pacer.in_flight_max = 100
        self.pacer.lease_end_ns = 2 * NS_PER_S

    def run_to(self, seconds: float) -> None:
        while self.now_ns < round(seconds * NS_PER_S):
            self.now_ns += NS_PER_S // 100
            self.pacer.fire(lambda fate, arrival, _now: self.decided.append((fate, arrival.k)), lambda: 0)

    def count(self, fate: str) -> int:
        return sum(1 for found, _ in self.decided if found == fate)


def test_nothing_is_decided_while_the_lease_is_over() -> None:
    """The shard may be another's by then, who starts and counts these arrivals."""
    bench = Bench()
    bench.run_to(5)
    assert bench.count("start") == len(bench.decided) == 20
    bench.queue.assign([])
    bench.run_to(6)
    assert len(bench.decided) == 20


def test_a_renewed_lease_leaves_missed_what_was_due_in_between() -> None:
    """No burst of late starts after a lapse, however short, and every arrival accounted for once."""
    bench = Bench()
    bench.run_to(2.5)
    bench.pacer.renew(60 * NS_PER_S)
    bench.run_to(10)
    assert (bench.count("start"), bench.count("missed")) == (95, 5)
    assert sorted(k for _, k in bench.decided) == list(range(100))


def test_a_stop_ends_a_worker_whose_lease_is_over() -> None:
    """What was due before the stop stays undecided; the controller counts it as lost."""
    bench = Bench()
    bench.run_to(3)
    assert not bench.pacer.over
    bench.pacer.stop_ns = 3 * NS_PER_S
    assert bench.pacer.over
