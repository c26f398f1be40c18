"""The search for the highest load at which rules hold."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stored_runs
from loadproof_report.capacity import (
    CapacitySearch,
    Conclusion,
    Limits,
    Outcome,
    Step,
    capacity_json,
    capacity_markdown,
    step_of,
)


def searched(limits: Limits, target: Callable[[float], Outcome]) -> CapacitySearch:
    """Search against a pretended target."""
    search = CapacitySearch(limits)
    while (following := search.next()) is not None:
        load, confirms = following
        outcome = target(load)
        search.add(Step(load, outcome, confirms, broken=("It broke.",) if outcome == "broken" else (), reason="why"))
    return search


def concluded(limits: Limits, target: Callable[[float], Outcome]) -> Conclusion:
    return searched(limits, target).conclusion()


@given(
    st.floats(11, 1990), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 3), st.floats(1, 10), st.floats(2000, 9000)
)
def test_a_target_with_a_limit_is_found_within_the_precision(
    capacity: float, precision: float, confirmations: int, low: float, high: float
) -> None:
    """What holds is below the truth, what breaks above it, and they are as near as asked for."""
    limits = Limits(low, high, precision=precision, confirmations=confirmations)
    found = concluded(limits, lambda load: "holds" if load <= capacity else "broken")
    assert found.kind == "found"
    assert found.holds_per_s is not None
    assert found.breaks_per_s is not None
    assert found.holds_per_s <= capacity < found.breaks_per_s
    assert found.breaks_per_s / found.holds_per_s <= 1 + precision + 0.02
    assert found.held == 1 + confirmations


def test_a_target_that_holds_everywhere_is_at_least_the_highest() -> None:
    """The end of the search is no capacity."""
    found = concluded(Limits(50, 400), lambda load: "holds")
    assert (found.kind, found.holds_per_s, found.held) == ("at_least", 400, 3)
    assert "at least" in found.text


def test_a_target_that_breaks_at_once_is_below_the_lowest() -> None:
    """Nothing is claimed below it."""
    found = concluded(Limits(50, 400), lambda load: "broken")
    assert (found.kind, found.holds_per_s, found.breaks_per_s) == ("below", None, 50)


def test_a_generator_that_gives_out_is_no_capacity() -> None:
    """The load is tried twice; then the answer is NOT PROVEN with what held, and why."""
    search = searched(Limits(50, 2000), lambda load: "holds" if load < 300 else "unproven")
    found = search.conclusion()
    assert found.kind == "not_proven"
    assert found.text.startswith("NOT PROVEN. The rules held up to")
    assert [step.outcome for step in search.steps[-2:]] == ["unproven", "unproven"]
    assert search.steps[-1].load_per_s == search.steps[-2].load_per_s


def test_one_disturbed_step_is_tried_again() -> None:
    """A run that proved nothing once does not end the search."""
    seen: list[float] = []

    def target(load: float) -> Outcome:
        seen.append(load)
        return "unproven" if len(seen) == 3 else "holds" if load <= 500 else "broken"

    found = concluded(Limits(50, 2000), target)
    assert (found.kind, seen[2] == seen[3]) == ("found", True)


def test_a_load_that_does_not_hold_again_is_too_high() -> None:
    """Held once by luck, broken when confirmed: the answer lies lower."""
    times: dict[float, int] = {}

    def lucky_once(load: float) -> Outcome:
        times[load] = times.get(load, 0) + 1
        lucky = 400 < load < 520 and times[load] == 1
        return "holds" if load <= 400 or lucky else "broken"

    found = concluded(Limits(50, 2000), lucky_once)
    assert found.kind == "found"
    assert found.holds_per_s is not None
    assert found.holds_per_s <= 400


@given(st.data())
def test_any_target_comes_to_an_end(data: st.DataObject) -> None:
    """Whatever is answered, the search ends within its bound and concludes something true of its steps."""
    limits = Limits(10, 1000, steps_max=30)
    answer = st.sampled_from(["holds", "holds", "broken", "unproven"])
    search = searched(limits, lambda load: data.draw(answer))
    found = search.conclusion()
    assert len(search.steps) <= 30
    if found.kind == "found":
        assert found.holds_per_s is not None
        outcomes = [step.outcome for step in search.steps if step.load_per_s == found.holds_per_s]
        assert "broken" not in outcomes
        assert outcomes.count("holds") >= 3


def test_a_person_ends_it() -> None:
    """What is known by then is said."""
    found = concluded(Limits(50, 2000), lambda load: "holds" if load < 100 else "stopped")
    assert (found.kind, found.holds_per_s) == ("stopped", 80)


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-1, 10), (20, 10)])
def test_a_search_needs_a_range(low: float, high: float) -> None:
    """No load, or a highest below the lowest."""
    with pytest.raises(ValueError, match="load"):
        CapacitySearch(Limits(low, high))


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        ("healthy", "holds"),
        ("small_but_dangerous", "holds"),
        ("regressed", "broken"),
        ("target_down", "broken"),
        ("saturated", "unproven"),
        ("agent_lost", "unproven"),
        ("no_data", "unproven"),
    ],
)
def test_a_run_says_whether_its_rules_hold(run: str, outcome: str) -> None:
    """By its verdict; a saturated generator or missing data is neither held nor broken."""
    step = step_of(stored_runs.result_of(run), 60.0)
    assert step.outcome == outcome
    assert bool(step.broken) == (outcome == "broken")
    assert bool(step.reason) == (outcome == "unproven")


def test_the_files_say_it_all_and_are_harmless() -> None:
    """Every step with its reason; hostile names are text."""
    search = searched(Limits(50, 400), lambda load: "holds" if load <= 200 else "broken")
    names = {"suite": "a|b<script>", "profile": "x", "build": "", "rules": ["*: p95 <= 1s"]}
    fields = orjson.loads(capacity_json(search, **names))
    assert fields["conclusion"]["kind"] == "found"
    assert len(fields["steps"]) == len(search.steps)
    note = capacity_markdown(search, **names)
    assert "<script>" not in note
    assert note.count("\n| ") == len(search.steps) + 1
    assert "It broke." in note
