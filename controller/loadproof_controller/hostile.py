"""Numbers from agents are hostile even when they decode: names must be the plan's, times must lie in the run."""

from __future__ import annotations

from collections.abc import Sized

from loadproof.metrics import OTHER, Block, Delta, clean_name
from loadproof.plan import Plan
from loadproof_controller.errors import HostileData
from loadproof_controller.messages import Reserve

NS_PER_S = 1_000_000_000
AHEAD_NS_MAX = 60 * NS_PER_S
"""How far a delta may reach beyond the controller's idea of now: clocks are only estimated."""
PASSED_MAX = 1_024
PASSED_LENGTH_MAX = 4_096
"""Lists of names that are remembered as the plan's, and how long they may be."""


class DeltaCheck:
    """What deltas of one plan may name."""

    __slots__ = ("_datasets", "_passed", "_phases", "_transactions", "_users")

    def __init__(self, plan: Plan, users: int) -> None:
        self._transactions = {clean_name(transaction.name) for transaction in plan.transactions} | {OTHER}
        self._phases = {clean_name(phase.name) for phase in plan.phases} | {""}
        self._datasets = {clean_name(dataset.name) for dataset in plan.datasets} | {OTHER}
        self._users = users
        self._passed: dict[int, Sized] = {}

    def block(self, block: Block, elapsed_ns: int) -> None:
        """Raise `HostileData` as `delta` does. Names that passed before, the same object, pass again."""
        keys, steps = block.keys, block.rest.step_order
        if self._passed.get(id(keys)) is not keys:
            self._names({(key.transaction, key.phase) for key in keys})
            self._remember(keys)
        if self._passed.get(id(steps)) is not steps:
            self._names({(transaction, "") for transaction, _step in steps})
            self._remember(steps)
        self._rest(block.rest, elapsed_ns)

    def _remember(self, names: Sized) -> None:
        if len(self._passed) >= PASSED_MAX:
            self._passed.clear()
        if len(names) <= PASSED_LENGTH_MAX:
            self._passed[id(names)] = names

    def delta(self, delta: Delta, elapsed_ns: int) -> None:
        """Raise `HostileData` when `delta` cannot be of this plan, `elapsed_ns` after its start."""
        self._names({(key.transaction, key.phase) for key in delta.series})
        self._names({(transaction, "") for transaction, _step in delta.step_order})
        self._rest(delta, elapsed_ns)

    def _rest(self, delta: Delta, elapsed_ns: int) -> None:
        pairs = {(key.transaction, key.phase) for key in delta.statuses}
        pairs.update((key.transaction, key.phase) for key in delta.errors)
        pairs.update(delta.delivery)
        pairs.update((transaction, "") for _second, transaction in delta.seconds)
        self._names(pairs)
        if not {*delta.draws, *delta.exhausted} <= self._datasets:
            raise HostileData("a snapshot names datasets the plan has not")
        end_ns = elapsed_ns + AHEAD_NS_MAX
        if max(delta.from_ns, delta.to_ns) > end_ns or any(second * NS_PER_S > end_ns for second, _ in delta.seconds):
            raise HostileData("a snapshot reaches into the future")

    def _names(self, pairs: set[tuple[str, str]]) -> None:
        names = {transaction for transaction, _phase in pairs}
        if not names <= self._transactions:
            raise HostileData(
                f"a snapshot names transactions the plan has not: {sorted(names - self._transactions)[:3]}"
            )
        phases = {phase for _transaction, phase in pairs}
        if not phases <= self._phases:
            raise HostileData(f"a snapshot names phases the plan has not: {sorted(phases - self._phases)[:3]}")

    def reservation(self, reserve: Reserve) -> None:
        """Raise `HostileData` when users or datasets are not of this plan."""
        if any(draw.user >= self._users or draw.dataset >= len(self._datasets) for draw in reserve.draws):
            raise HostileData("a reservation names users or datasets the plan has not")
