"""A run in which nothing ever worked, as its report tells it."""

from __future__ import annotations

import stored_runs
from loadproof_report import render_html


def test_nothing_that_only_failed_is_drawn_as_a_latency() -> None:
    """Where a transaction never succeeded the table has neither percentiles nor their line over time."""
    assert 'class="spark"' not in render_html(stored_runs.result_of("target_down"))
    assert render_html(stored_runs.result_of("no_data")).count('class="spark"') == 4


def test_the_advice_for_a_target_that_is_down_is_to_look_whether_it_runs() -> None:
    """Not its backlog: that is for connections that fail now and then."""
    risks = stored_runs.result_of("target_down").verdict.risks
    assert risks
    assert {"target runs" in risk.mitigation for risk in risks} == {True}
