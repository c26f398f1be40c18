"""A controller that stays: a queue of runs, one after another, on a fleet that comes and goes.

This is the interface for whatever serves people (gRPC now): plain Python, one event loop, no wire.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadproof_controller.errors import ControllerError, RunRefused
from loadproof_controller.fleet import AgentLink, matches
from loadproof_controller.messages import Refusal
from loadproof_controller.relays.messages import RelayRefusal
from loadproof_controller.request import Progress
from loadproof_controller.resuming import Past, read_past
from loadproof_controller.run_store import BUNDLE, LOG, RESULT, RunEntry, RunStore, now_text
from loadproof_controller.runner import Runner
from loadproof_controller.security import Caller, Role, TokenEntry, TokenStore
from loadproof_controller.service import ControllerService
from loadproof_controller.submission import BaselineFiles, Submission, run_request, submission_of
from loadproof_report import ReportError, build_result, write_outputs
from loadproof_report.rundata import RunData
from loadproof_report.stored_run import load_run

LOGGER = logging.getLogger(__name__)
QUEUE_MAX = 100
WATCHERS_MAX = 200
UPDATES_MAX = 1_000
"""Updates that wait for one watcher; of a slow one the oldest are dropped, the last never."""
PROBLEMS_KEPT = 20
TOO_FEW = "attach more agents with `loadproof agent`, or wait longer for them with --wait-for-agents"


@dataclass(frozen=True, slots=True)
class Queued:
    """The run waits; `ahead` runs are before it."""

    ahead: int


Update = Queued | Progress | RunEntry
"""What a watcher sees: waiting, going on, and at last the entry of a run that is over."""
Observer = Callable[[str, Update], None]


@dataclass(frozen=True, slots=True)
class FleetEntry:
    """One attached agent. `run_id` is empty between runs; clock offset and its uncertainty in microseconds."""

    agent_id: str
    host: str
    version: str
    python: str
    cores: int
    workers: int
    capacity_permille: int
    labels: dict[str, str]
    run_id: str
    clock_offset_us: int
    clock_uncertainty_us: int


class _Watcher:
    def __init__(self) -> None:
        self._updates: deque[Update] = deque(maxlen=UPDATES_MAX)
        self._ready = asyncio.Event()

    def put(self, update: Update) -> None:
        self._updates.append(update)
        self._ready.set()

    async def next(self) -> Update:
        while not self._updates:
            self._ready.clear()
            await self._ready.wait()
        return self._updates.popleft()


class _Job:
    """A run that is not over: its secrets live here, in memory, and nowhere else."""

    def __init__(self, submission: Submission, observers: Sequence[Observer]) -> None:
        self.submission = submission
        self._observers = observers
        self.past: Past | None = None
        self.watchers: set[_Watcher] = set()
        self.last: Update | None = None
        self.stopped_by = ""
        """Who stopped it after its turn had come and before it was on."""

    def tell(self, update: Update) -> None:
        self.last = update
        for watcher in self.watchers:
            watcher.put(update)
        for observer in self._observers:
            observer(self.submission.run_id, update)


class FleetService:
    """Runs, fleet and tokens of one controller. `serve()` works the queue until `close()`."""

    def __init__(self, controller: ControllerService, store: RunStore, tokens: TokenStore) -> None:
        self._controller = controller
        self._store = store
        self._tokens = tokens
        self._queue: list[str] = []
        self._jobs: dict[str, _Job] = {}
        self.observers: list[Observer] = []
        """Told of every update of every run, at once and on the loop: they must be quick and raise nothing."""
        self._current = ""
        self._wake = asyncio.Event()
        self._closing = False
        for entry in store.interrupted:
            self._take_up(entry)

    def _take_up(self, entry: RunEntry) -> None:
        """Queue a run that an earlier process was in the middle of; one whose log is no use is ended, in words."""
        folder = self._store.folder(entry.run_id)
        try:
            past = read_past(folder / LOG, bundle=(folder / BUNDLE).read_bytes())
        except (ControllerError, OSError) as error:
            reason = f"the controller was restarted, and the run's log is no use: {error}"
            failed = dataclasses.replace(entry, state="failed", aborted_by="infrastructure", reason=reason)
            self._store.put(failed)
            return
        baselines = len(list(folder.glob("baseline-*")))
        job = self._jobs[entry.run_id] = _Job(submission_of(past.request, baselines), self.observers)
        job.past = past
        self._controller.held.add(entry.run_id)
        self._queue.append(entry.run_id)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def submit(
        self, submission: Submission, bundle: bytes, baselines: Sequence[BaselineFiles] = (), *, by: str = ""
    ) -> int:
        """Queue a run; return how many are before it. Raises `RunRefused`, with what to do about it."""
        self.judge(submission)
        entry = RunEntry(
            run_id=submission.run_id,
            suite=submission.suite,
            profile=submission.profile,
            build=submission.build,
            submitted_at=now_text(),
            submitted_by=by,
            agents_wanted=submission.agents_wanted,
            labels=submission.labels,
            warnings=submission.shown_warnings,
        )
        self._store.create(entry, bundle, baselines)
        job = self._jobs[entry.run_id] = _Job(submission, self.observers)
        self._queue.append(entry.run_id)
        ahead = self._ahead(entry.run_id)
        job.tell(Queued(ahead))
        LOGGER.info("run %s was submitted by %s, %d before it", entry.run_id, by or "nobody known", ahead)
        self._wake.set()
        return ahead

    def judge(self, submission: Submission) -> None:
        """Raise `RunRefused` when a run cannot be taken now; asked before its bundle is sent, too."""
        if self._closing:
            raise RunRefused("the controller is shutting down")
        if len(self._queue) >= QUEUE_MAX:
            raise RunRefused(f"{QUEUE_MAX} runs wait already, which is this controller's limit")
        if self._store.get(submission.run_id) is not None:
            raise RunRefused(f"there is a run {submission.run_id} already")
        have = [link for link in self._controller.fleet if link.ready and matches(link.hello.labels, submission.labels)]
        if len(have) < submission.agents_wanted and not submission.wait_for_agents_s:
            labels = " ".join(f"{name}={value}" for name, value in sorted(submission.labels.items()))
            noun = "agent" if submission.agents_wanted == 1 else "agents"
            what = f"{noun} with {labels}" if labels else noun
            raise RunRefused(
                f"the run asks for {submission.agents_wanted} {what}, the fleet has {len(have)}; attach more with"
                " `loadproof agent`, or wait for them with --wait-for-agents"
            )

    def runs(self, limit: int = 100) -> list[RunEntry]:
        """Return the newest runs, newest first."""
        return [entry for entry, _ in zip(self._store, range(limit), strict=False)]

    def entry(self, run_id: str) -> RunEntry | None:
        """Return one run, None when it is not known."""
        return self._store.get(run_id)

    def stop(self, run_id: str, *, immediate: bool = False, by: str = "") -> bool:
        """End a run early, or take it out of the queue. False when it is over or unknown."""
        if run_id in self._queue:
            self._queue.remove(run_id)
            self._end(
                run_id, state="aborted", aborted_by="person", reason=f"taken out of the queue by {by or 'a person'}"
            )
            return True
        if not run_id or run_id != self._current:
            return False
        LOGGER.info("run %s is stopped by %s", run_id, by or "nobody known")
        if not self._controller.running(run_id):
            self._jobs[run_id].stopped_by = by or "a person"
            return True
        return self._controller.stop(run_id, immediate=immediate, reason=f"stopped by {by or 'a person'}")

    async def watch(self, run_id: str) -> AsyncIterator[Update]:
        """Follow a run to its end; the last update is its `RunEntry`. Raises KeyError, `RunRefused` over the limit."""
        entry = self._store.get(run_id)
        if entry is None:
            raise KeyError(run_id)
        job = self._jobs.get(run_id)
        if job is None:
            yield entry
            return
        if len(job.watchers) >= WATCHERS_MAX:
            raise RunRefused(f"{WATCHERS_MAX} follow that run already")
        watcher = _Watcher()
        job.watchers.add(watcher)
        try:
            if job.last is not None:
                watcher.put(job.last)
            while True:
                update = await watcher.next()
                yield update
                if isinstance(update, RunEntry):
                    return
        finally:
            job.watchers.discard(watcher)

    @property
    def current(self) -> Runner | None:
        """The run that is on, for those who show it; not to be changed."""
        return self._controller.current

    def files(self, run_id: str) -> list[Path]:
        """Return the files of a run that is over; empty when it left none."""
        return self._store.files(run_id)

    def recorded(self, run_id: str) -> None:
        """Note that a run that is over is in the run history."""
        known = self._store.get(run_id)
        assert known is not None
        entry = dataclasses.replace(known, recorded=True)
        self._store.put(entry)
        for observer in self.observers:
            observer(run_id, entry)

    # --- the fleet ----------------------------------------------------------------------------------------------------

    def fleet(self) -> list[FleetEntry]:
        """Return the attached agents by name."""
        links = sorted((link for link in self._controller.fleet if link.ready), key=lambda link: link.agent_id)
        return [self._fleet_entry(link) for link in links]

    def _fleet_entry(self, link: AgentLink) -> FleetEntry:
        hello = link.hello
        return FleetEntry(
            agent_id=link.agent_id,
            host=hello.host,
            version=hello.version,
            python=hello.python,
            cores=hello.cores,
            workers=hello.workers,
            capacity_permille=hello.capacity_permille,
            labels=hello.labels,
            run_id=self._controller.run_of(link),
            clock_offset_us=link.clock.offset_ns // 1_000,
            clock_uncertainty_us=-(-link.clock.uncertainty_ns // 1_000),
        )

    # --- tokens -------------------------------------------------------------------------------------------------------

    def create_token(self, role: Role, name: str, *, ttl_s: int = 0, agents_max: int = 0) -> tuple[TokenEntry, str]:
        """Make a token; its text is returned once. Raises ValueError."""
        entry, token = self._tokens.create(role, name, ttl_s=ttl_s, agents_max=agents_max)
        LOGGER.info("token %s (%s, %s) was made", entry.token_id, entry.role, entry.name)
        return entry, token.text

    def tokens(self) -> list[TokenEntry]:
        """Return the tokens that are good now, oldest first."""
        return self._tokens.entries()

    def caller(self, secret: str) -> Caller | None:
        """Return whose secret this is, None when it is nobody's."""
        return self._tokens.caller(secret)

    def caller_by_id(self, token_id: str) -> Caller | None:
        """Return who has the token of that id, None when it is not good any more."""
        return self._tokens.caller_by_id(token_id)

    def revoke_token(self, token_id: str) -> bool:
        """End a token and put out the agents that joined with it. False when there is none of that id."""
        if not self._tokens.revoke(token_id):
            return False
        for link in self._controller.fleet:
            if link.token_id == token_id:
                link.close(Refusal("identity", f"the token that agent {link.agent_id} joined with was revoked"))
        for relay in self._controller.fleet.relays:
            if relay.token_id == token_id:
                relay.close(RelayRefusal("identity", f"the token that relay {relay.relay_id} joined with was revoked"))
        LOGGER.info("token %s was revoked", token_id)
        return True

    # --- the queue ----------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Run what is queued, one after another, until `close()` and the end of the run that is on."""
        while not self._closing:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._current = self._queue.pop(0)
            for run_id in self._queue:
                self._jobs[run_id].tell(Queued(self._ahead(run_id)))
            try:
                await self._execute(self._jobs[self._current])
            finally:
                self._current = ""
        for run_id in list(self._queue):
            self._queue.remove(run_id)
            reason = "the controller was shut down before the run began"
            self._end(run_id, state="aborted", aborted_by="infrastructure", reason=reason)

    def close(self) -> None:
        """Take no more runs, stop the one that is on at once, and let `serve` return when its files are written."""
        self._closing = True
        self._wake.set()
        if self._current:
            self._controller.stop(self._current, immediate=True, reason="the controller is shutting down")

    async def _execute(self, job: _Job) -> None:
        run_id = job.submission.run_id
        folder = self._store.folder(run_id)
        known = self._store.get(run_id)
        assert known is not None
        began = known.started_at or now_text()  # a run that is taken up again began with an earlier process
        self._store.put(dataclasses.replace(known, state="running", started_at=began))
        LOGGER.info("run %s begins", run_id)

        async def progressed(progress: Progress) -> None:
            job.tell(progress)

        try:
            bundle = await asyncio.to_thread((folder / BUNDLE).read_bytes)
            if job.stopped_by:
                reason = f"stopped by {job.stopped_by} before it began"
                self._end(run_id, state="aborted", aborted_by="person", reason=reason)
                return
            if job.past is not None:
                job.past.request = dataclasses.replace(job.past.request, on_progress=progressed)
                data = await self._controller.resume(job.past)
            else:
                request = run_request(job.submission, bundle, folder / LOG)
                data = await self._controller.run(dataclasses.replace(request, on_progress=progressed))
            loaded = data.status == "finished" or any(data.planned.values())
            places = [self._store.baseline(run_id, index) for index in range(job.submission.baselines)]
            decision = await asyncio.to_thread(_conclude, data, folder / RESULT, places) if loaded else ""
        except asyncio.CancelledError:
            self._end(run_id, state="aborted", aborted_by="infrastructure", reason="the controller was shut down")
            raise
        except (ControllerError, ReportError, OSError) as error:
            LOGGER.exception("run %s failed", run_id)
            self._end(
                run_id, state="failed", aborted_by="infrastructure", reason=f"the controller could not run: {error}"
            )
        except Exception as error:  # a bug of ours costs this run, not those after it
            LOGGER.exception("run %s failed", run_id)
            self._end(
                run_id, state="failed", aborted_by="infrastructure", reason=f"internal error: {type(error).__name__}"
            )
        else:
            self._end(
                run_id,
                state=data.status,
                aborted_by=data.aborted_by or "",
                reason=data.abort_reason,
                loaded=loaded,
                decision=decision,
                problems=() if loaded else problems_of(data, job.submission.agents_wanted),
            )

    def _end(self, run_id: str, **changes: object) -> None:
        known = self._store.get(run_id)
        assert known is not None
        entry = dataclasses.replace(known, ended_at=now_text(), **changes)  # type: ignore[arg-type]
        self._store.put(entry)
        self._controller.held.discard(run_id)
        self._store.tidy(run_id, keep_log=entry.state == "failed")
        LOGGER.info("run %s is over: %s %s", run_id, entry.state, entry.decision or entry.reason)
        self._jobs.pop(run_id).tell(entry)

    def _ahead(self, run_id: str) -> int:
        return self._queue.index(run_id) + bool(self._current)


def problems_of(data: RunData, agents_wanted: int) -> tuple[str, ...]:
    """Return what went wrong before any load, as far as the reason does not say it, and what to do about it."""
    texts = [
        event.text
        for event in data.events
        if event.kind.endswith(("problem", "failed", "refused")) and event.text not in data.abort_reason
    ]
    few = data.aborted_by == "infrastructure" and len(data.fleet) < agents_wanted
    return (*texts[:PROBLEMS_KEPT], *((TOO_FEW,) if few else ()))


def _conclude(data: RunData, out: Path, baselines: Sequence[Path]) -> str:
    """Write the result's files and return the verdict. Raises `ReportError` and OSError."""
    result = build_result(data, [load_run(place) for place in baselines])
    write_outputs(result, data, out)
    return result.verdict.decision
