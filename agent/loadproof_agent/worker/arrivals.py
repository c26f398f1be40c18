"""The open model's decisions: which arrivals are due, and what becomes of each. Pure: the clock is a parameter.

Every arrival taken from the schedule ends in exactly one of three ways, so planned = started + dropped + missed for the
part of a shard a worker was responsible for:

- started, `late` when that is more than 100 ms after its time;
- dropped: as many transactions as allowed are in flight;
- missed: it was due while the lease was over, or it is more than 1 s overdue because the generator stood still. It is
  never started later, so that a worker that wakes up cannot send a burst.

While the lease is over nothing is decided, not even that it is missed: the shard may be another's by now, who decides
it. A renewed lease says that it was not, and then what was due in between is missed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Literal

from loadproof.plan import Arrival, ArrivalSchedule

LATE_NS = 100_000_000
"""A start later than this counts as late."""
OVERDUE_NS = 1_000_000_000
"""An arrival later than this is missed."""
FATES_MAX = 5_000
"""Most arrivals decided in one go, so that a long stall does not become a longer one."""
STARTS_MAX = 128
"""Most of them that are started. The rest begins after the loop's next turn: by then the first have their answers, and
users that are idle again take the place of new ones, each with a new connection. At a tick of 1 ms that is 128,000 a
second, more than a worker can do."""

Fate = Literal["start", "dropped", "missed"]


class ShardCursor:
    """Where a worker stands in one shard. `accounted` arrivals from `first_k` on have been decided."""

    __slots__ = ("accounted", "arrivals", "first_k", "head", "shard")

    def __init__(self, schedule: ArrivalSchedule, shard: int, count: int, first_k: int) -> None:
        self.shard = shard
        self.first_k = first_k
        self.accounted = 0
        self.arrivals = schedule.shard(shard, count, first_k)
        self.head: Arrival | None = next(self.arrivals, None)
        """The next one, which is not among those of `arrivals` any more; None after the last."""


class ArrivalQueue:
    """The arrivals of the shards held, merged by time."""

    def __init__(self, schedule: ArrivalSchedule, shard_count: int) -> None:
        self._schedule = schedule
        self._count = shard_count
        self._cursors: dict[int, ShardCursor] = {}
        self.heap: list[tuple[int, int, ShardCursor]] = []
        """(time, k, shard) of the next arrival of each shard that has one; only looked at from outside."""

    def assign(self, shards: Iterable[tuple[int, int]]) -> None:
        """Hold exactly these (shard, first_k).

        A shard held already goes on where it is, unless its new `first_k` lies ahead of that: nothing is decided twice.
        """
        wanted: dict[int, ShardCursor] = {}
        for shard, first_k in shards:
            known = self._cursors.get(shard)
            if known is not None and (known.head is None or first_k <= known.head.k):
                wanted[shard] = known
            else:
                wanted[shard] = ShardCursor(self._schedule, shard, self._count, first_k)
        self._cursors = wanted
        self.heap = [
            (cursor.head.at_ns, cursor.head.k, cursor) for cursor in wanted.values() if cursor.head is not None
        ]
        heapq.heapify(self.heap)

    @property
    def next_ns(self) -> int | None:
        """Offset of the next arrival, None after the last."""
        return self.heap[0][0] if self.heap else None

    def take(self) -> Arrival:
        """Account for the next arrival and return it. Raises IndexError after the last."""
        heap = self.heap
        cursor = heap[0][2]
        taken = cursor.head
        assert taken is not None
        cursor.accounted += 1
        cursor.head = head = next(cursor.arrivals, None)
        if head is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (head[1], head[0], cursor))
        return taken

    def accounted(self) -> tuple[tuple[int, int, int], ...]:
        """Return (shard, first_k, accounted) of each shard held."""
        return tuple((cursor.shard, cursor.first_k, cursor.accounted) for cursor in self._cursors.values())


class OpenPacer:
    """Decides every arrival that is due. `clock` gives nanoseconds; `zero_ns` is the run's start on it.

    `lease_end_ns` is on the clock too, `stop_ns` (None: at the schedule's end) an offset: nothing intended at or after
    it is decided at all.
    """

    def __init__(self, queue: ArrivalQueue, clock: Callable[[], int], zero_ns: int) -> None:
        self.queue = queue
        self.lease_end_ns = 0
        self.in_flight_max = 1
        self._resumed_ns: int | None = None
        self.stop_ns: int | None = None
        self._clock = clock
        self._zero_ns = zero_ns

    @property
    def over(self) -> bool:
        """Whether nothing is left to decide."""
        next_ns = self.queue.next_ns
        if next_ns is None:
            return True
        return self.stop_ns is not None and (next_ns >= self.stop_ns or self._clock() >= self.lease_end_ns)

    def renew(self, lease_end_ns: int) -> None:
        """The lease now ends at `lease_end_ns`. After one that had run out, what was due since then is missed."""
        now_ns = self._clock()
        if now_ns >= self.lease_end_ns:
            self._resumed_ns = now_ns - self._zero_ns
        self.lease_end_ns = lease_end_ns

    def wait_ns(self) -> int | None:
        """Return how long until the next arrival is due (0: it is), None when nothing is left."""
        next_ns = self.queue.next_ns
        if next_ns is None or (self.stop_ns is not None and next_ns >= self.stop_ns):
            return None
        return max(0, self._zero_ns + next_ns - self._clock())

    def fire(self, decide: Callable[[Fate, Arrival, int], None], in_flight: Callable[[], int]) -> None:
        """Call `decide(fate, arrival, now_ns)` for what is due, to the limits above. `now_ns` is on the clock.

        The clock is read before every decision: a lease that ends on the way stops the starts that follow.
        """
        heap, take, clock, zero_ns = self.queue.heap, self.queue.take, self._clock, self._zero_ns
        resumed_ns = -1 if self._resumed_ns is None else self._resumed_ns
        stop_ns, lease_end_ns, in_flight_max = self.stop_ns, self.lease_end_ns, self.in_flight_max
        now_ns = clock()
        starts = 0
        for _ in range(FATES_MAX):
            if not heap:
                return
            next_ns = heap[0][0]
            if next_ns > now_ns - zero_ns or (stop_ns is not None and next_ns >= stop_ns):
                return
            now_ns = clock()
            if now_ns >= lease_end_ns or starts == STARTS_MAX:
                return
            arrival = take()
            if now_ns - zero_ns - next_ns > OVERDUE_NS or next_ns < resumed_ns:
                decide("missed", arrival, now_ns)
            elif in_flight() >= in_flight_max:
                decide("dropped", arrival, now_ns)
            else:
                starts += 1
                decide("start", arrival, now_ns)
