"""The closed model's decisions: when a user starts its next iteration, and with what."""

from __future__ import annotations

from loadproof.plan import NS_PER_S, DatasetPlan, Plan, TransactionPlan, UserPhase, UserSchedule
from loadproof_agent.worker.users import Iteration, UserLife


def life(user: int = 0, *, first: int = 0, pace_s: int = 0, rows: int = 0, **phase: object) -> UserLife:
    fields: dict[str, object] = {"users_from": 4, "users_to": 4, "duration_ns": 10 * NS_PER_S} | phase
    datasets = (DatasetPlan("d", "0" * 64, rows, "unique"),) if rows else ()
    mix = (TransactionPlan("A", 1, dataset="d" if rows else None),)
    plan = Plan(
        "S", "p", "closed", (UserPhase("all", **fields),), mix, datasets, pace_ns=pace_s * NS_PER_S,  # type: ignore[arg-type]
    )  # fmt: skip
    return UserLife(plan, UserSchedule(plan), user, first)


def test_a_user_starts_at_once_and_again_at_once() -> None:
    """Without a pace the next iteration may start as soon as the last has ended."""
    user = life()
    assert user.next_ns(0, None) == 0
    user.begin(0)
    assert user.next_ns(7, None) == 7


def test_a_pace_is_from_start_to_start() -> None:
    """A quick iteration waits for its pace, a slow one starts the next at once and does not catch up."""
    user = life(pace_s=2)
    user.begin(0)
    assert user.next_ns(NS_PER_S, None) == 2 * NS_PER_S
    assert user.next_ns(5 * NS_PER_S, None) == 5 * NS_PER_S


def test_a_user_of_a_ramp_waits_for_its_birth_and_ends_with_its_life() -> None:
    """User u lives while u < users(t)."""
    user = life(3, users_from=0)
    born = user.next_ns(0, None)
    assert born is not None
    assert born > 0
    assert user.end_of_life_ns(born) == 10 * NS_PER_S
    assert user.next_ns(10 * NS_PER_S, None) is None


def test_a_pace_beyond_the_end_of_life_is_the_end() -> None:
    """No iteration starts at or after the end."""
    user = life(pace_s=4)
    user.begin(9 * NS_PER_S)
    assert user.next_ns(9 * NS_PER_S + 1, None) is None


def test_a_stop_is_an_end_of_life_for_all() -> None:
    """Nothing starts at or after the stop's offset."""
    user = life()
    assert user.next_ns(3, 4) == 3
    assert user.next_ns(4, 4) is None


def test_iterations_end_a_user() -> None:
    """Iteration j belongs to user j mod users: of 10 for 4 users, user 0 has three and user 3 two."""
    for number, wanted in ((0, 3), (3, 2)):
        user = life(number, iterations=10)
        for _ in range(wanted):
            assert user.next_ns(0, None) == 0
            user.begin(0)
        assert user.next_ns(0, None) is None


def test_rows_are_dealt_by_user_and_draw_and_run_out() -> None:
    """User u's n-th draw is row u + U n; a `unique` dataset without that row is exhausted, not repeated."""
    user = life(1, rows=10)
    assert [user.begin(0).row for _ in range(3)] == [1, 5, 9]
    assert user.begin(0) == Iteration(3, 0, -1, "d", exhausted=True)


def test_a_user_taken_over_goes_on_with_its_draws() -> None:
    """The first iteration of a new holder draws what the earlier one would have drawn next."""
    assert life(1, first=2, rows=10).begin(0).row == 9
