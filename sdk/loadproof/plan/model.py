"""The plan: suite and profile, validated and frozen. Pure data with a sha256; no clock, no agent count, no I/O.

Everything that decides *what is run when with which data* is in here and nothing else: no base URL, no path, no rule,
no build. Two plans with one hash offer the same load, on 1 agent or 1,000.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import orjson

Model = Literal["open", "closed"]
Spacing = Literal["even", "poisson"]
Session = Literal["keep", "new"]
Order = Literal["circular", "shuffle", "unique"]
OnExhausted = Literal["stop", "fail"]
Criticality = Literal["low", "normal", "high", "critical"]

NS_PER_S = 1_000_000_000
RATE_SCALE = 1_000
"""Rates are integers in arrivals per 1,000 seconds, so "0.5/s" = 500 and no float is hashed."""


@dataclass(frozen=True, slots=True)
class ArrivalPhase:
    """A stretch of the open model: the rate moves linearly from `rate_from` to `rate_to` in `duration_ns`.

    Rates are integers in 1/1000 arrivals per second (`RATE_SCALE`).
    """

    name: str
    rate_from: int
    rate_to: int
    duration_ns: int
    warmup: bool = False


@dataclass(frozen=True, slots=True)
class UserPhase:
    """A stretch of the closed model: users move linearly from `users_from` to `users_to`.

    `iterations` (only alone, in a phase of its own plan) ends the profile after that many iterations in total:
    iteration j belongs to user j mod users. Then `duration_ns` is an upper bound or None.
    """

    name: str
    users_from: int
    users_to: int
    duration_ns: int | None
    iterations: int | None = None
    warmup: bool = False


Phase = ArrivalPhase | UserPhase


@dataclass(frozen=True, slots=True)
class TransactionPlan:
    """One transaction of the profile's mix. `weight` is its integer share; `dataset` names the data it draws."""

    name: str
    weight: int
    tags: tuple[str, ...] = ()
    criticality: Criticality = "normal"
    owner: str = ""
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """A dataset as the plan sees it: the sha256 of the file's bytes and its number of rows.

    `different` is how many of the rows differ, `most_alike` how often the most frequent row comes (0: not known).
    """

    name: str
    sha256: str
    rows: int
    order: Order = "circular"
    on_exhausted: OnExhausted = "stop"
    different: int = 0
    most_alike: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A frozen run description. Transactions keep their order: an arrival names one by its index in `transactions`."""

    suite: str
    profile: str
    model: Model
    phases: tuple[Phase, ...]
    transactions: tuple[TransactionPlan, ...]
    datasets: tuple[DatasetPlan, ...] = ()
    spacing: Spacing = "even"
    session: Session = "keep"
    max_in_flight: int = 10_000
    graceful_stop_ns: int = 30 * NS_PER_S
    timeout_ns: int = 30 * NS_PER_S
    seed: int = 1
    pace_ns: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data from which `plan_from_dict` builds an equal plan."""
        return dataclasses.asdict(self)

    def canonical_bytes(self) -> bytes:
        """Return the bytes that `sha256` hashes: compact JSON with sorted keys, of what decides the load.

        Tags, criticality and owner are labels of the report, not of the load, and stay out; how rows repeat follows
        from the file's own hash.
        """
        data = self.to_dict()
        for dataset in data["datasets"]:
            for derived in ("different", "most_alike"):
                del dataset[derived]
        for transaction in data["transactions"]:
            for label in ("tags", "criticality", "owner"):
                del transaction[label]
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)

    @property
    def sha256(self) -> str:
        """Return the plan's identity, 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    @property
    def duration_ns(self) -> int | None:
        """Return the planned length in nanoseconds, or None where only a number of iterations ends it."""
        total = 0
        for phase in self.phases:
            if phase.duration_ns is None:
                return None
            total += phase.duration_ns
        return total

    @property
    def once_only(self) -> bool:
        """Return whether users must do nothing twice: they count iterations or draw rows of a `unique` dataset."""
        if self.model == "open":
            return False
        drawn = {transaction.dataset for transaction in self.transactions}
        unique = any(dataset.order == "unique" and dataset.name in drawn for dataset in self.datasets)
        return unique or any(isinstance(phase, UserPhase) and phase.iterations is not None for phase in self.phases)

    def dataset(self, name: str) -> DatasetPlan:
        """Return the dataset called `name`; KeyError when the plan draws from no such dataset."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise KeyError(name)


def plan_from_dict(data: dict[str, Any]) -> Plan:
    """Build a plan from `Plan.to_dict` data. Raises KeyError, TypeError or ValueError on anything else."""
    fields = dict(data)
    phase_type = ArrivalPhase if fields["model"] == "open" else UserPhase
    fields["phases"] = tuple(phase_type(**phase) for phase in fields["phases"])
    fields["transactions"] = tuple(
        TransactionPlan(**{**transaction, "tags": tuple(transaction["tags"])}) for transaction in fields["transactions"]
    )
    fields["datasets"] = tuple(DatasetPlan(**dataset) for dataset in fields["datasets"])
    return Plan(**fields)
