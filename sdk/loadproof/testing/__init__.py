"""Runs one transaction once, in a plain test, and shows what was recorded.

    from loadproof.testing import FakeTarget, run_transaction

    async def test_search_finds_chairs():
        async with FakeTarget() as target:
            target.answer("GET", "/search", json={"results": []})
            seen = await run_transaction(suite, "Search", target=target)
        assert seen.ok, seen.errors
        assert [step.name for step in seen.steps] == ["Search"]

The code that runs is the same as under load; only the schedule is missing. `run_transaction` needs a running loop, so a
test is an `async def` (pytest-asyncio) or calls `asyncio.run`.
"""

from loadproof.testing.recording import (
    RecordedCheck,
    RecordedError,
    RecordedRequest,
    RecordedStep,
    Recording,
)
from loadproof.testing.run import run_transaction
from loadproof.testing.target import FakeTarget, ReceivedRequest

__all__ = [
    "FakeTarget",
    "ReceivedRequest",
    "RecordedCheck",
    "RecordedError",
    "RecordedRequest",
    "RecordedStep",
    "Recording",
    "run_transaction",
]
