"""Since when a broken rule is broken."""

from __future__ import annotations

import pytest

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof_report import build_result
from loadproof_report.result import RuleResult
from stored_runs import Flow, Story, rule

STEPS = (("Pay", "POST /pay", 0.5), ("Confirm", "GET /orders/{id}", 0.5))
PHASES = (
    ArrivalPhase("ramp", 10_000, 60_000, 30 * NS_PER_S),
    ArrivalPhase("peak", 60_000, 60_000, 60 * NS_PER_S),
)


def judged(flow: Flow, *rules: tuple[str, dict[str, object]]) -> tuple[RuleResult, ...]:
    asked = tuple(rule("Checkout", require, **more) for require, more in rules)
    data = Story(flows=(flow,), phases=PHASES, rules=asked).build_run()
    return build_result(data, today=stored_runs.STARTED_AT[:10]).rules


@pytest.mark.parametrize("more", [{"step": "Confirm"}, {"phase": "ramp"}, {"step": "Pay", "phase": "peak"}])
@pytest.mark.parametrize("first", [True, False])
def test_rules_of_one_wording_have_onsets_of_their_own(more: dict[str, object], first: bool) -> None:
    """A second rule with the same `require` on another step or phase changes nothing, before it or after it."""
    flow = Flow("Checkout", 1.0, 300_000, 0.2, steps=STEPS, slow=lambda s: 1.0 if s < 30 else 4.0)
    require = "p95 <= 800ms"
    pair = [(require, {}), (require, more)]
    (alone,) = judged(flow, (require, {}))
    result = judged(flow, *(pair if first else pair[::-1]))[0 if first else 1]
    assert result == alone
    assert (alone.status, alone.failed_at_s) == ("failed", 30)
    assert "since 0:30, from an offered load of" in alone.detail


def test_a_step_s_onset_is_that_of_the_step() -> None:
    """A rule on a step that slows down has its beginning although the whole transaction's rule comes last."""
    flow = Flow("Checkout", 1.0, 300_000, 0.2, steps=STEPS, slow=lambda s: 1.0 if s < 50 else 3.0)
    step, whole = judged(flow, ("p95 <= 400ms", {"step": "Pay"}), ("p95 <= 400ms", {}))
    assert (step.failed_at_s, whole.failed_at_s) == (50, None)


def test_mean_and_max_are_followed_themselves() -> None:
    """Half as slow again from 0:40 on: the maximum is broken there, though the median stays far below its limit."""
    flow = Flow("Checkout", 1.0, 100_000, 0.2, steps=STEPS, slow=lambda s: 1.0 if s < 40 else 1.5)
    mean, slowest = judged(flow, ("mean <= 105ms", {}), ("max <= 230ms", {}))
    assert (mean.status, slowest.status) == ("failed", "failed")
    assert (mean.failed_at_s, slowest.failed_at_s) == (40, 40)
    assert judged(flow, ("p50 <= 230ms", {}))[0].status == "passed"


def test_a_lower_bound_has_its_onset_where_it_is_broken() -> None:
    """`p50 >= 80ms` is broken by what gets faster, not by what is slow before."""
    flow = Flow("Checkout", 1.0, 100_000, 0.2, steps=STEPS, slow=lambda s: 1.0 if s < 40 else 0.5)
    (result,) = judged(flow, ("p50 >= 80ms", {}))
    assert (result.status, result.failed_at_s) == ("failed", 40)


def test_a_rule_with_windows_begins_with_its_first_broken_window() -> None:
    """Slow from 0:40 on and slowest at 0:70: the trouble began at 0:40, and the load then is told."""
    slow = {40: 3.0, 70: 9.0}
    flow = Flow(
        "Checkout", 1.0, 100_000, 0.2, steps=STEPS,
        slow=lambda s: max((by for at, by in slow.items() if at <= s < at + 8), default=1.0),
    )  # fmt: skip
    (result,) = judged(flow, ("p50 <= 200ms over 4s", {}))
    assert (result.status, "worst from 1:1" in result.detail) == ("failed", True)
    assert result.failed_at_s is not None
    assert 40 <= result.failed_at_s <= 42
    assert result.failed_at_load_per_s == 60
    assert f"since 0:{result.failed_at_s:.0f}, from an offered load of" in result.detail
    always = Flow("Checkout", 1.0, 300_000, 0.2, steps=STEPS)
    (result,) = judged(always, ("p50 <= 200ms over 4s", {}))
    assert (result.failed_at_s, "since" in result.detail) == (0, False)
