"""The pages that the controller keeps of runs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, cast

import pytest

from loadproof_controller.run_store import RunEntry
from loadproof_controller.web.hub import Hub


class Service:
    """A controller that knows one run."""

    def __init__(self, entry: RunEntry) -> None:
        self.observers: list[Any] = []
        self.known = entry

    def entry(self, _run_id: str) -> RunEntry:
        """Return the run."""
        return self.known

    def learn(self, **changes: Any) -> None:
        """Know more of the run, and tell whoever listens."""
        self.known = dataclasses.replace(self.known, **changes)
        for observer in self.observers:
            observer(self.known.run_id, self.known)


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ({"state": "finished"}, {"recorded": True}),
        ({"state": "running"}, {"state": "aborted", "reason": "stopped"}),
    ],
    ids=["recorded", "over"],
)
async def test_what_is_learned_of_a_run_while_its_page_is_read_is_on_the_page(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Nobody looked at it before, so that there was no page to bring up to date."""
    service = Service(RunEntry("run-1", **before))
    hub = Hub(cast("Any", service))
    loop, read, news = asyncio.get_running_loop(), hub._read, [changes]

    def reading(entry: RunEntry) -> Any:
        state = read(entry)
        if news:
            learned = asyncio.run_coroutine_threadsafe(learn(news.pop()), loop)
            learned.result(60)
        return state

    async def learn(more: dict[str, Any]) -> None:
        service.learn(**more)

    monkeypatch.setattr(hub, "_read", reading)
    monkeypatch.setattr(service, "files", lambda _run_id: [], raising=False)
    page = await hub.page("run-1")
    assert page is not None
    assert {name: page.state["run"][name] for name in changes} == changes
