"""The benchmark harness itself: a real worker under load, judged rows, and nothing missing that counts as a win."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks read /proc")


def test_a_real_worker_is_measured_without_any_contender() -> None:
    """Some hundred milliseconds of a real worker process against our own target give a cost per request."""
    from benchmarks import ours
    from benchmarks.machine import cores
    from benchmarks.measuring import Setting
    from benchmarks.server import Server
    from benchmarks.worker import Load

    class OwnTarget(Server):
        def __enter__(self):
            self._start_target()
            return self

    generator, serving = cores()
    with tempfile.TemporaryDirectory() as folder, OwnTarget(Path(folder), serving) as server:
        reading = ours.closed(Setting(server, generator, 0.8, 0.1), Load("One step, JSON", users=8))
    assert reading.cpu_us > 0
    assert reading.per_s > 0


def test_a_missing_contender_is_no_win() -> None:
    """A goal that needs a missing contender is unknown, and the table says why it is missing."""
    from benchmarks.results import GOALS, OURS, Row, table

    rows = {("one step", OURS): Row("one step", OURS, values=[10.0]), ("one step", "k6"): Row("one step", "k6")}
    rows["one step", "k6"].missing = "k6 is not installed"
    against_k6 = next(goal for goal in GOALS if "k6" in goal.text)
    assert against_k6.judge(rows) == ("unknown", None)
    machine = {"processor": "P", "cores": 2, "kernel": "6", "python": "3", "load_before": 0.1}
    text = table(rows, machine, {}, {"rounds": 1, "seconds": 1.0})
    assert "missing: k6 is not installed" in text


def test_goals_of_lateness_need_arrivals_that_were_started() -> None:
    """Without a lateness in the row the goal is unknown, however cheap the starts were."""
    from benchmarks.results import GOALS, OURS, Row

    rows = {("open 5,000/s", OURS): Row("open 5,000/s", OURS, values=[10.0])}
    late = next(goal for goal in GOALS if goal.case == "open 5,000/s")
    assert late.judge(rows) == ("unknown", None)


@pytest.mark.parametrize(("hits", "n", "upper"), [(0, 60, 0.0596), (7, 400, 0.0357), (20, 20, 1.0), (0, 0, 1.0)])
def test_the_upper_end_of_a_share_is_the_exact_binomial_one(hits: int, n: int, upper: float) -> None:
    """What a table of false alarms says they may be at most; known values of Clopper and Pearson."""
    from benchmarks.comparison_power import binomial_upper

    assert binomial_upper(hits, n) == pytest.approx(upper, abs=2e-4)


def test_slower_builds_are_dealt_between_the_equal_ones() -> None:
    """A machine that drifts must not be taken for a build: no block of slower runs, none left out."""
    from benchmarks.comparison_shop import EQUAL_MS, rounds

    dealt = rounds(24, [16, 24, 40], 4)
    assert (len(dealt), dealt.count(EQUAL_MS), dealt.count(40)) == (36, 24, 4)
    assert dealt[0] == EQUAL_MS
    assert all(EQUAL_MS in dealt[at : at + 2] for at in range(len(dealt) - 1))


def test_what_readers_cost_is_the_difference_of_medians() -> None:
    """One window that a neighbour spoiled, with or without readers, changes nothing."""
    from benchmarks.web_readers import Reading

    assert Reading(100, [0.01, 0.01, 0.9], [0.03, 0.03, 0.0], 1.0, 2_000.0).cost == pytest.approx(0.02)
