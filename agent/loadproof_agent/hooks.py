"""Set-up and teardown of a run: asked of one worker, answered once, whatever becomes of that worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from loadproof_agent.events import Answered
from loadproof_agent.pipe import messages as m
from loadproof_agent.records import Problem, SetupResult, TeardownResult
from loadproof_agent.worker_process import WorkerProcess

Kind = Literal["setup", "teardown"]


class Hooks:
    """Which worker runs a hook of `run_id`, and until when it may. `emit` gets exactly one answer for each `ask`."""

    def __init__(self, run_id: str, hook_ns: int, emit: Callable[[Answered], None]) -> None:
        self._run_id = run_id
        self._hook_ns = hook_ns
        self._emit = emit
        self._running: tuple[Kind, int, int] | None = None

    def ask(self, message: m.Setup | m.Teardown, worker: WorkerProcess | None, now_ns: int) -> None:
        """Let `worker` run the hook; None means that no worker is left."""
        kind: Kind = "setup" if isinstance(message, m.Setup) else "teardown"
        if worker is None:
            self._answer(kind, b"", Problem(kind, "no worker is left to run it"))
            return
        self._running = (kind, worker.index, now_ns + self._hook_ns)
        worker.send(message)

    def answered(self, message: m.SetupDone | m.TeardownDone, worker: int) -> None:
        """Hand on what `worker` says; ignored when it was not asked."""
        kind: Kind = "setup" if isinstance(message, m.SetupDone) else "teardown"
        if self._running is None or self._running[:2] != (kind, worker):
            return
        self._running = None
        problem = None
        if message.problem is not None:
            problem = Problem(message.problem.code, message.problem.text, message.problem.detail)
        self._answer(kind, message.shared if isinstance(message, m.SetupDone) else b"", problem)

    def worker_gone(self, worker: int, text: str) -> None:
        """The worker is dead, and with it the hook it may have been running."""
        if self._running is not None and self._running[1] == worker:
            kind, self._running = self._running[0], None
            self._answer(kind, b"", Problem(kind, text))

    def deadline_ns(self, worker: int) -> int | None:
        """Return until when `worker` may be in its hook, None when it is in none."""
        return self._running[2] if self._running is not None and self._running[1] == worker else None

    def _answer(self, kind: Kind, shared: bytes, problem: Problem | None) -> None:
        result = (
            SetupResult(self._run_id, shared, problem) if kind == "setup" else TeardownResult(self._run_id, problem)
        )
        self._emit(Answered(result))
