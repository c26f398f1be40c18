"""Keeps what pages show of every run: fed by the service at each update, read by any number of readers."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any

from loadproof_controller.fleet_service import FleetService, Queued, Update
from loadproof_controller.request import Progress
from loadproof_controller.run_store import RunEntry
from loadproof_controller.runner import Runner
from loadproof_controller.web.live_state import (
    Json,
    LiveChart,
    empty_state,
    entry_state,
    live_state,
    queued_state,
    stored_state,
)
from loadproof_controller.web.streams import Topic, event
from loadproof_report import ReportError, load_result

LOGGER = logging.getLogger(__name__)
KEPT_MAX = 20
"""Runs that are over and stay in memory; older ones are read again when somebody looks."""
RUNS_LISTED = 100
OVERVIEW_S = 1.0


class LivePage:
    """The page of one run."""

    def __init__(self, state: Json) -> None:
        self.state = state
        self.chart = LiveChart()
        self.topic = Topic(lambda: self.state)
        self._samples: list[Any] = []

    def replace(self, state: Json) -> None:
        """Take another state as a whole."""
        self.state = state
        self.topic.changed(None)

    def advance(self, state: Json, rows: list[list[Any]] | None) -> None:
        """Take the next state of a run that is on; readers get what changed."""
        self.state = {**state, "chart": self.chart.data()}
        if rows is None:
            self.topic.changed(None)
            return
        samples = [kind["samples"] for kind in state["errors"]]
        kinds = [{name: kind[name] for name in kind if name != "samples"} for kind in state["errors"]]
        update = {**state, "rows": rows, "errors": state["errors"] if samples != self._samples else kinds}
        self._samples = samples
        self.topic.changed(event("tick", update))


class Hub:
    """Pages by run, and the overview of runs and fleet. `serve()` until cancelled; then `close()`."""

    def __init__(self, service: FleetService) -> None:
        self._service = service
        self._pages: OrderedDict[str, LivePage] = OrderedDict()
        self._ended: set[str] = set()
        self._wake = asyncio.Event()
        self._overview: Json = {}
        self.overview = Topic(self._look)
        self._closed = False
        self._latest_id = ""
        self.latest: Runner | None = None
        """The run that is on or was last, for metrics: held until the next begins."""
        service.observers.append(self.heard)

    def heard(self, run_id: str, update: Update) -> None:
        """Take an update of a run. A mistake in here costs pages, never the run."""
        try:
            self._hear(run_id, update)
        except Exception:
            LOGGER.exception("the page of run %s could not be brought up to date", run_id)

    def _hear(self, run_id: str, update: Update) -> None:
        entry = self._service.entry(run_id)
        if entry is None:
            return
        page = self._pages.get(run_id)
        if page is None and isinstance(update, RunEntry):
            return  # nobody looks at it; who does later reads it from its files
        if page is None:
            page = self._keep(run_id, LivePage(empty_state(entry)))
        if isinstance(update, Queued):
            page.replace(queued_state(entry, update))
        elif isinstance(update, Progress):
            self._progress(page, entry, update)
        else:
            page.replace({**page.state, "run": entry_state(update), "phase": update.state})
            self._ended.add(run_id)
        self._wake.set()

    def _progress(self, page: LivePage, entry: RunEntry, progress: Progress) -> None:
        runner = self._service.current
        if runner is None or runner.request.run_id != entry.run_id:
            return
        state = live_state(entry, progress, runner)
        self.latest, self._latest_id = runner, entry.run_id
        rows: list[list[Any]] | None = []
        if progress.elapsed_ns is not None and progress.elapsed_ns > 0:
            over = progress.phase not in {"running", "draining"}
            rows = page.chart.update(runner, progress.elapsed_ns / 1e9, over=over)
        page.advance(state, rows)

    @property
    def latest_state(self) -> Json:
        """The state of `latest`; there must be one."""
        return self._pages[self._latest_id].state

    async def page(self, run_id: str) -> LivePage | None:
        """Return the page of a run, read from its files when it is over; None when there is no such run."""
        page = self._pages.get(run_id)
        if page is not None:
            self._pages.move_to_end(run_id)
            return page
        entry = self._service.entry(run_id)
        if entry is None:
            return None
        state = await asyncio.to_thread(self._read, entry)
        while (now := self._service.entry(run_id) or entry) is not entry:  # more was learned of it meanwhile
            entry = now
            state = await asyncio.to_thread(self._read, entry)
        return self._pages.get(run_id) or self._keep(run_id, LivePage(state))

    def _keep(self, run_id: str, page: LivePage) -> LivePage:
        self._pages[run_id] = page
        over = [name for name, kept in self._pages.items() if kept.state["run"]["over"] and not kept.topic.readers]
        for name in over[: max(0, len(over) - KEPT_MAX)]:
            if name not in {run_id, self._latest_id}:
                del self._pages[name]
        return page

    def _read(self, entry: RunEntry) -> Json:
        files = [path for path in self._service.files(entry.run_id) if path.name == "run.json"] if entry.over else []
        if not files:
            return empty_state(entry)
        try:
            return stored_state(entry, load_result(files[0]))
        except ReportError as error:
            LOGGER.warning("run %s cannot be shown: %s", entry.run_id, error)
            return {**empty_state(entry), "reasons": [f"Its result cannot be read: {error}"]}

    def _look(self) -> Json:
        return {
            "runs": [entry_state(entry) for entry in self._service.runs(RUNS_LISTED)],
            "fleet": [
                {
                    "agent_id": agent.agent_id,
                    "host": agent.host,
                    "version": agent.version,
                    "python": agent.python,
                    "cores": agent.cores,
                    "workers": agent.workers,
                    "capacity": agent.capacity_permille / 1000,
                    "labels": agent.labels,
                    "run_id": agent.run_id,
                    "clock_us": agent.clock_offset_us,
                    "clock_uncertainty_us": agent.clock_uncertainty_us,
                }
                for agent in self._service.fleet()
            ],
        }

    async def serve(self) -> None:
        """Read the results of runs that ended, and look at runs and fleet each second while somebody watches them."""
        while not self._closed:
            self._wake.clear()
            for run_id in list(self._ended):
                self._ended.discard(run_id)
                await self._settle(run_id)
            if self.overview.readers:
                seen = self._look()
                if seen != self._overview:
                    self._overview = seen
                    self.overview.changed(event("state", seen))
            try:
                async with asyncio.timeout(OVERVIEW_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _settle(self, run_id: str) -> None:
        entry, page = self._service.entry(run_id), self._pages.get(run_id)
        if entry is None or page is None or not entry.loaded:
            return
        page.replace(await asyncio.to_thread(self._read, entry))

    def close(self) -> None:
        """Let every reader go; their pages come back by themselves when the controller does."""
        self._closed = True
        self._wake.set()
        self._service.observers.remove(self.heard)
        for topic in [self.overview, *(page.topic for page in self._pages.values())]:
            topic.end()
