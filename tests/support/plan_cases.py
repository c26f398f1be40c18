"""Random plans for property tests, and a slow, obvious way to compute what they must do."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

from hypothesis import strategies as st

from loadproof.plan import NS_PER_S, ArrivalPhase, DatasetPlan, Plan, TransactionPlan, UserPhase
from loadproof.plan.model import Spacing

RATES = st.one_of(st.just(0), st.integers(1, 60_000))
DURATIONS = st.integers(1_000_000, 4 * NS_PER_S)


@st.composite
def open_phases(draw: st.DrawFn) -> tuple[ArrivalPhase, ...]:
    """One to four phases: constant, rising, falling, empty."""
    count = draw(st.integers(1, 4))
    phases = []
    for number in range(count):
        rate = draw(RATES)
        other = rate if draw(st.booleans()) else draw(RATES)
        phases.append(ArrivalPhase(f"phase {number + 1}", rate, other, draw(DURATIONS)))
    return tuple(phases)


@st.composite
def mixes(draw: st.DrawFn) -> tuple[tuple[TransactionPlan, ...], tuple[DatasetPlan, ...]]:
    """One to four transactions that draw from none, one or two datasets."""
    datasets = tuple(
        DatasetPlan(name, "0" * 64, draw(st.integers(1, 50)), draw(st.sampled_from(["circular", "shuffle"])))
        for name in ("accounts", "products")
    )
    names = st.sampled_from([None, "accounts", "products"])
    transactions = tuple(
        TransactionPlan(f"transaction {number}", draw(st.integers(1, 12)), dataset=draw(names))
        for number in range(draw(st.integers(1, 4)))
    )
    return transactions, datasets


@st.composite
def open_plans(draw: st.DrawFn) -> Plan:
    """A plan of the open model."""
    transactions, datasets = draw(mixes())
    spacing: Spacing = draw(st.sampled_from(get_args(Spacing)))
    seed = draw(st.integers(0, 2**63 - 1))
    phases = draw(open_phases())
    return Plan("suite", "profile", "open", phases, transactions, datasets, spacing=spacing, seed=seed)


@st.composite
def closed_plans(draw: st.DrawFn) -> Plan:
    """A plan of the closed model with at least one user."""
    transactions, datasets = draw(mixes())
    phases = []
    for number in range(draw(st.integers(1, 4))):
        users = draw(st.integers(0, 40))
        other = users if draw(st.booleans()) else draw(st.integers(0, 40))
        phases.append(UserPhase(f"phase {number + 1}", users, other, draw(DURATIONS)))
    phases.append(UserPhase("last", 1, 1, NS_PER_S))
    return Plan(
        "suite", "profile", "closed", tuple(phases), transactions, datasets, seed=draw(st.integers(0, 2**63 - 1))
    )


def plan_of(*phases: ArrivalPhase | UserPhase, weights: tuple[int, ...] = (1,), **fields: object) -> Plan:
    """A plan of these phases whose transactions are called A, B, C, ... and all draw from `data` where it is given."""
    datasets: tuple[DatasetPlan, ...] = fields.pop("datasets", ())  # type: ignore[assignment]
    dataset = datasets[0].name if datasets else None
    transactions = tuple(TransactionPlan("ABCDEFGH"[n], weight, dataset=dataset) for n, weight in enumerate(weights))
    model = "open" if isinstance(phases[0], ArrivalPhase) else "closed"
    return Plan("suite", "profile", model, phases, transactions, datasets, **fields)  # type: ignore[arg-type]


def integral(phases: tuple[ArrivalPhase, ...], t_ns: int) -> Fraction:
    """Return the exact number of arrivals that the rates before `t_ns` add up to."""
    total = Fraction(0)
    start = 0
    for phase in phases:
        tau = min(max(t_ns - start, 0), phase.duration_ns)
        slope = Fraction(phase.rate_to - phase.rate_from, phase.duration_ns)
        total += (phase.rate_from * tau + slope * tau * tau / 2) / (1000 * NS_PER_S)
        start += phase.duration_ns
    return total
