"""A short soak; `make soak MINUTES=30` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault_soak import grown, report, soak


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_grows_in_two_minutes_of_resets(tmp_path: Path) -> None:
    """Many runs and one longer one over connections that break every 3 s: counts agree, and no process grows."""
    done = await soak(tmp_path, 2.0)
    assert not grown(done), report(done)
    assert done.resets > 20
