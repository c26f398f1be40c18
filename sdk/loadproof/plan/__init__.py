"""What is run when with which data: pure functions of a frozen plan, the same on every machine and for any split."""

from loadproof.plan.arrivals import Arrival, ArrivalSchedule
from loadproof.plan.model import (
    NS_PER_S,
    RATE_SCALE,
    ArrivalPhase,
    DatasetPlan,
    Phase,
    Plan,
    TransactionPlan,
    UserPhase,
    plan_from_dict,
)
from loadproof.plan.rows import RowsExhausted, row_index
from loadproof.plan.seeding import mix64, rng_for, user_seed, user_seed_closed
from loadproof.plan.spec import RunSpec, spec_from_dict
from loadproof.plan.users import FOREVER_NS, UserSchedule

__all__ = [
    "FOREVER_NS",
    "NS_PER_S",
    "RATE_SCALE",
    "Arrival",
    "ArrivalPhase",
    "ArrivalSchedule",
    "DatasetPlan",
    "Phase",
    "Plan",
    "RowsExhausted",
    "RunSpec",
    "TransactionPlan",
    "UserPhase",
    "UserSchedule",
    "mix64",
    "plan_from_dict",
    "rng_for",
    "row_index",
    "spec_from_dict",
    "user_seed",
    "user_seed_closed",
]
