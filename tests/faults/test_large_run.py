"""The large run, shorter; `make large-run MINUTES=10` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from large_run import check, large_run

SECONDS = 180


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_agents_some_killed_and_some_added_lose_no_count(tmp_path: Path) -> None:
    """Three minutes of 20 agents over TLS: counts are the target's, the live page's are run.json's, all is named."""
    with large_run(tmp_path, SECONDS) as run:
        run.carry_out()
        check(run, tmp_path)
