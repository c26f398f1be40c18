"""What the page of a run shows when the run is over: the numbers of run.json."""

from __future__ import annotations

import pytest

from loadproof_controller.run_store import RunEntry
from loadproof_controller.web.live_state import stored_state
from stored_runs import CORPUS, result_of


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("same", [False, True], ids=["as it was", "everything started as planned"])
def test_a_stored_chart_is_the_timeline(name: str, same: bool) -> None:
    """Each second has its own numbers, also where columns are equal or never change, which the report's page packs."""
    result = result_of(name)
    if same:
        timeline = [second.model_copy(update={"started": second.planned}) for second in result.timeline]
        result = result.model_copy(update={"timeline": timeline})
    chart = stored_state(RunEntry("run", state="finished", loaded=True), result)["chart"]
    counts = [(s.second, s.planned, s.started, s.completed, s.failed, s.dropped) for s in result.timeline]
    assert [tuple(row[:6]) for row in chart["rows"]] == counts
    assert all(len(row) == 11 for row in chart["rows"])
    assert not [value for row in chart["rows"] for value in row if isinstance(value, str)]
