"""A run on a running controller's fleet: submitted, followed live, and ended as a local one is."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Self

from loadproof.metrics.intervals import write_series
from loadproof.trust import Token
from loadproof_cli import keeping
from loadproof_cli.console import Console
from loadproof_cli.errors import InfrastructureProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.pipelines import tell_pipeline
from loadproof_cli.progress import ProgressDisplay
from loadproof_cli.remote import Remote, problem_of
from loadproof_cli.run_locally import LocalRun, frozen_request, scratch_folder
from loadproof_cli.runs_folder import RESULT_FILE, output_folder
from loadproof_cli.summary import terminal_summary
from loadproof_cli.words import sentence
from loadproof_controller.errors import ClientError
from loadproof_controller.fleet_service import Queued
from loadproof_controller.operations.client import LOST_CODES, ControllerClient, Ended, FilePart
from loadproof_controller.request import RunRequest
from loadproof_controller.submission import BaselineFiles, Submission
from loadproof_report import ResultError, exit_code, load_result
from loadproof_report.outputs import run_json
from loadproof_report.stored_run import INTERVALS, StoredRun

FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
FILES_BYTES_MAX = 4 * 1024 * 1024 * 1024
RETRIES_MAX = 12
RETRY_PAUSE_S = 5.0
RUNS_LISTED = 1_000


def run_remotely(console: Console, wanted: LocalRun, remote: Remote) -> int:
    """Submit, follow, write the files, print the results, return the exit code."""
    with scratch_folder() as scratch:
        request = frozen_request(console, wanted, scratch)
        baselines = [_baseline_files(run, scratch) for run in wanted.keeping.baselines]
    submission = submission_of(request, remote, len(baselines))
    for warning in request.warnings:
        console.say(f"warning: {console.shortened(warning)}", style="yellow")
    return asyncio.run(
        _Follower(console, wanted.run_id, wanted.folder, remote, wanted).submit(request, submission, baselines)
    )


def follow_run(console: Console, address: str, token: Token, run_id: str, out: Path | None) -> int:
    """Follow a run somebody submitted, fetch its files, and end as its submitter would."""
    folder = output_folder(console, out, run_id)
    return asyncio.run(_Follower(console, run_id, folder, Remote(address, token, {}), None, owner=False).follow())


def submission_of(request: RunRequest, remote: Remote, baselines: int) -> Submission:
    """Return a frozen run as it goes over the wire."""
    return Submission(
        run_id=request.run_id,
        plan=request.plan.to_dict(),
        spec=request.spec.to_dict(),
        bundle=request.bundle_info,
        bundle_bytes=len(request.bundle),
        secrets=request.secrets,
        rules=request.rules,
        agents_wanted=request.agents_wanted,
        labels=remote.labels,
        wait_for_agents_s=remote.wait_for_agents_s,
        on_agent_loss=request.on_agent_loss,
        environment=request.environment,
        build=request.build,
        baselines=baselines,
        warnings=request.warnings,
    )


def _baseline_files(run: StoredRun, scratch: Path) -> BaselineFiles:
    files = {RESULT_FILE: run_json(run.result)}
    if run.intervals is not None:
        path = scratch / INTERVALS
        write_series(path, run.intervals.series, run.intervals.width_s)
        files[INTERVALS] = path.read_bytes()
    return files


class _Follower:
    """The time between submitting and the end. Ctrl+C stops the run; the third press leaves it to the controller."""

    def __init__(
        self,
        console: Console,
        run_id: str,
        folder: Path,
        remote: Remote,
        wanted: LocalRun | None,
        *,
        owner: bool = True,
    ) -> None:
        self._console = console
        self._run_id = run_id
        self._folder = folder
        self._remote = remote
        self._wanted = wanted
        self._owner = owner
        self._display = ProgressDisplay(console)
        self._presses = 0
        self._pressed = asyncio.Event()
        self._told_queue: int | None = None

    async def submit(self, request: RunRequest, submission: Submission, baselines: Sequence[BaselineFiles]) -> int:
        """Submit and follow, or leave it there with `--detach`."""
        agents = f"{request.agents_wanted} agent{'s' if request.agents_wanted != 1 else ''}"
        try:
            async with ControllerClient(self._remote.address, self._remote.token) as client:
                await client.submit(submission, request.bundle, baselines)
        except ClientError as error:
            if not error.in_doubt or not await self._was_taken(error):
                raise problem_of(error.code, error.text, "nothing was started") from error
        at = self._remote.address
        self._console.say(
            f"run {self._run_id}: {request.plan.suite}, profile {request.plan.profile}, on {agents} of {at}"
        )
        if self._remote.detach:
            self._console.line(self._run_id)
            self._console.say(f"follow it and fetch its files: loadproof runs {self._run_id} --controller {at}")
            return ExitCode.OK
        if self._wanted is not None:
            keeping.announce(self._console, self._wanted.keeping)
        return await self.follow()

    async def _was_taken(self, doubt: ClientError) -> bool:
        """Ask whether the run is there although no answer came. Raises InfrastructureProblem when nobody can tell."""
        self._console.say(sentence(doubt.text, f"looking whether run {self._run_id} was taken"))
        for _ in range(RETRIES_MAX):
            await asyncio.sleep(RETRY_PAUSE_S)  # before the first look, too: the controller may be at it still
            try:
                async with ControllerClient(self._remote.address, self._remote.token) as client:
                    return any(entry.run_id == self._run_id for entry in await client.runs(RUNS_LISTED))
            except ClientError as error:
                if error.code not in LOST_CODES:
                    break
        where = f"loadproof runs {self._run_id} --controller {self._remote.address}"
        raise problem_of(doubt.code, doubt.text, f"the run may have been taken: {where} follows it if so") from doubt

    async def follow(self) -> int:
        """Follow to the end, over broken connections; write what the run left and return its exit code."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=f".{self._folder.name}.", dir=self._folder.parent))
        try:
            with self._display, self._console.interrupts(self._interrupted):
                ended = await self._until_ended(incoming)
            if ended is None:
                return ExitCode.ABORTED_BY_PERSON
            return self._conclude(ended, incoming)
        except OSError as error:
            raise InfrastructureProblem(
                f"the report could not be written to {self._folder}: {error.strerror}."
            ) from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    async def _until_ended(self, incoming: Path) -> Ended | None:
        """Watch until the run is over; None when a person would not wait for that."""
        failures = 0
        while True:
            try:
                async with ControllerClient(self._remote.address, self._remote.token) as client:
                    return await self._watch(client, incoming)
            except _LeftError:
                return None
            except ClientError as error:
                failures += 1
                if error.code not in LOST_CODES or failures > RETRIES_MAX:
                    hint = f"the run may still be on: loadproof runs {self._run_id} follows it again"
                    raise problem_of(error.code, error.text, *(() if error.code == "not_found" else (hint,))) from error
                self._display.tell(sentence(error.text, "trying again"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_PAUSE_S):
                    await self._pressed.wait()
            if self._presses > 2:
                return None

    async def _watch(self, client: ControllerClient, incoming: Path) -> Ended:
        """Read to the end while passing presses on. Raises `ClientError`, `_LeftError`."""
        outcome: Ended | ClientError | None = None

        async def read() -> None:
            nonlocal outcome
            try:
                outcome = await self._read(client, incoming)
            except ClientError as error:
                outcome = error

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            stopping = group.create_task(self._pass_on_stops(client))
            await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            stopping.cancel()
        if outcome is None:
            raise _LeftError
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome

    async def _read(self, client: ControllerClient, incoming: Path) -> Ended:
        with _Files(incoming) as files:
            async for seen in client.watch(self._run_id):
                if isinstance(seen, Ended):
                    return seen
                if isinstance(seen, FilePart):
                    files.add(seen)
                elif isinstance(seen, Queued):
                    if seen.ahead and seen.ahead != self._told_queue:
                        self._display.tell(f"waiting: {seen.ahead} run{'s' if seen.ahead != 1 else ''} before this one")
                    self._told_queue = seen.ahead
                else:
                    await self._display.show(seen)
        raise ClientError("unavailable", "the controller ended the stream early")

    def _interrupted(self) -> None:
        self._presses += 1
        self._pressed.set()

    async def _pass_on_stops(self, client: ControllerClient) -> None:
        """Tell the controller of each press; returns when the person will not wait."""
        told = 0
        while True:
            await self._pressed.wait()
            self._pressed.clear()
            if self._presses > 2 or not self._owner:
                self._display.tell(f"left; the run goes on: loadproof runs {self._run_id} follows it again")
                return
            while told < self._presses:
                told += 1
                how = "stopping at once" if told > 1 else "stopping: what runs may finish, once more stops at once"
                self._display.tell(how)
                with contextlib.suppress(ClientError):  # it is over already: the end of the stream says so
                    await client.stop(self._run_id, immediate=told > 1)

    def _conclude(self, ended: Ended, incoming: Path) -> int:
        if not ended.loaded:
            how = "was stopped" if ended.aborted_by == "person" else "failed"
            self._console.say(f"the run {how} before any load was started: {ended.reason}", style="bold red")
            for text in ended.problems:
                self._console.say(text)
            return ExitCode.ABORTED_BY_PERSON if ended.aborted_by == "person" else ExitCode.INFRASTRUCTURE
        try:
            result = load_result(incoming)
        except ResultError as error:
            raise InfrastructureProblem(f"the controller's files cannot be read: {error}") from error
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(incoming.iterdir()):
            path.chmod(0o644)
            path.replace(self._folder / path.name)
        self._console.result(terminal_summary(result))
        if self._wanted is not None:
            keeping.record(self._console, self._wanted.keeping, self._folder)
        tell_pipeline(self._console, result)
        self._console.line(f"Report: {self._console.shown(self._folder / 'report.html')}")
        return exit_code(result, self._wanted.fail_on) if self._wanted is not None else exit_code(result)


class _LeftError(Exception):
    """The person would not wait for the end."""


class _Files:
    """Writes the files of a run as they come, under plain names only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = ""
        self._file: BinaryIO | None = None
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()

    def add(self, part: FilePart) -> None:
        """Write one part. Raises ClientError on a name or a size that cannot be."""
        self._bytes += len(part.data)
        if not FILE_NAME.fullmatch(part.name) or self._bytes > FILES_BYTES_MAX:
            raise ClientError("data", "the controller sends files that cannot be a run's")
        if part.name != self._name:
            self._close()
            self._name, self._file = part.name, (self._folder / part.name).open("wb")
        assert self._file is not None
        self._file.write(part.data)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
