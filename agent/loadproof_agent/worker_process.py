"""One worker process: started with exec, talked to over a socketpair, watched, and killed when it must be.

Never fork: children forked after gRPC was started hang or crash. User code runs in there, so nothing a worker does
(block, exit, crash, leak, babble) may harm the supervisor; each becomes a `Departure` with a kind and words.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import psutil

from loadproof_agent.pipe import messages
from loadproof_agent.pipe.codec import PipeCutError, PipeError
from loadproof_agent.pipe.connection import PipeClosedError, PipeConnection
from loadproof_agent.records import WorkerReading

Kind = Literal["left", "exited", "crashed", "blocked", "memory"]

ENVIRONMENT_ALLOWED = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONWARNINGS",
    "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
)  # fmt: skip
"""What a worker sees of the supervisor's environment: no token, no key, no proxy."""

OUTPUT_BYTES = 64 * 1024
LAST_LINES_MAX = 12
STACK_LINES_MAX = 64
CRASH_BEGINS = "Fatal Python error:"
STACK_BEGINS = "Stack (most recent call first):"
"""How Python begins to print its stack; after a crash that is its second line."""
STACK_ENDS = ("in _run_module_as_main", "  ...")
"""Its last line: where `python -m` began, or that there is more."""
LAST_WORDS_S = 1.0
"""How long a worker that is to be killed has to say where it is; one that runs at all needs a moment."""
LINGER_S = 1.0
"""How long a process may outlive its end of the pipe when nobody asked it to leave."""

MessageHandler = Callable[["WorkerProcess", messages.FromWorker], None]


@dataclass(frozen=True, slots=True)
class Departure:
    """How a worker went: on request (`left`) or not, in words, and what it was doing.

    `stack` is what was printed of its Python stack, most recent call first: by a crash in C code, or when it was asked
    before it was killed.
    """

    kind: Kind
    text: str
    transaction: str = ""
    step: str = ""
    stack: tuple[str, ...] = ()


def worker_environment() -> dict[str, str]:
    """Return the environment of a worker: the allowed names only."""
    kept = {name: os.environ[name] for name in ENVIRONMENT_ALLOWED if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1"}


class WorkerProcess:
    """One worker. `run()` starts it and returns when it is gone; the other methods talk to it meanwhile.

    `on_message` gets every message, `on_line` every line it prints. Both are called from the supervisor's loop and must
    not raise.
    """

    def __init__(
        self,
        index: int,
        *,
        on_message: MessageHandler,
        on_line: Callable[[str], None],
        command: tuple[str, ...] = (),
        exit_s: float = 5.0,
    ) -> None:
        self.index = index
        self.pid = 0
        self.last_beat: messages.Beat | None = None
        self.heard_ns = time.monotonic_ns()
        self.prepared = False
        self.born_ns = time.monotonic_ns()
        self._command = command or (sys.executable, "-m", "loadproof_agent.worker")
        self._on_message = on_message
        self._on_line = on_line
        self._exit_s = exit_s
        self._process: asyncio.subprocess.Process | None = None
        self._pipe: PipeConnection | None = None
        self._waiting: list[messages.ToWorker] = []
        self._verdict: tuple[Kind, str] | None = None
        self._leaving = False
        self._last_call: asyncio.TimerHandle | None = None
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES_MAX)
        self._stack: list[str] = []
        self._watched: psutil.Process | None = None

    # --- talking ------------------------------------------------------------------------------------------------------

    def send(self, message: messages.ToWorker) -> None:
        """Say something; before the process is up it waits, after its end it is dropped."""
        if self._pipe is None:
            self._waiting.append(message)
            return
        with contextlib.suppress(PipeClosedError):
            self._pipe.post(message)

    def leave(self) -> None:
        """Ask the worker to go; it is killed when it has not gone in `exit_s` seconds."""
        if not self._leaving:
            self._leaving = True
            self.send(messages.Exit())
            self._last_call = asyncio.get_running_loop().call_later(self._exit_s, self._signal)

    def kill(self, kind: Kind, text: str) -> None:
        """Kill the worker, because of `kind`, as soon as it has said where it is, or after `LAST_WORDS_S`."""
        if self._verdict is not None:
            return
        self._verdict = (kind, text)
        self._stack.clear()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(messages.STACK_SIGNAL)
        if self._last_call is not None:
            self._last_call.cancel()
        self._last_call = asyncio.get_running_loop().call_later(LAST_WORDS_S, self._signal)

    def silent_ns(self, now_ns: int) -> int:
        """Nanoseconds since the last sign of life."""
        return max(0, now_ns - self.heard_ns)

    def reading(self, now_ns: int) -> WorkerReading:
        """Return how the worker is, from its last beat."""
        beat = self.last_beat
        silent_ms = self.silent_ns(now_ns) // 1_000_000
        if beat is None:
            return WorkerReading(self.index, self.pid, silent_ms, 0, 0, 0)
        cpu, memory = beat.cpu_permille, beat.memory_bytes
        return WorkerReading(self.index, self.pid, silent_ms, beat.in_flight, cpu, memory, beat.began_ns)

    def memory_bytes(self) -> int:
        """Return its resident memory as the system says, however busy the process is; 0 when it is gone."""
        try:
            if self._watched is None:
                self._watched = psutil.Process(self.pid)
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0

    # --- living -------------------------------------------------------------------------------------------------------

    async def run(self) -> Departure:
        """Start the process and stay until it is gone; its process is reaped whatever happens.

        Cancelling asks the worker to leave, waits `exit_s` seconds, kills it, and then raises CancelledError.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await self._spawn(theirs)
        except BaseException:
            ours.close()
            raise
        self.pid = self._process.pid
        self.heard_ns = time.monotonic_ns()
        try:
            async with asyncio.TaskGroup() as group:
                printing = group.create_task(self._read_output())
                async with PipeConnection(ours) as pipe:
                    self._open(pipe)
                    await self._converse(pipe)
                status = await self._reap()
                await self._finish_printing(printing)
        except BaseException:
            self._signal()
            await self._process.wait()
            raise
        finally:
            self._end_forked()
            if self._last_call is not None:
                self._last_call.cancel()
        return self._classify(status)

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=worker_environment(),
            start_new_session=True,  # a Ctrl+C in the terminal is the controller's to decide on
        )

    def _open(self, pipe: PipeConnection) -> None:
        self._pipe = pipe
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.send(message)

    async def _converse(self, pipe: PipeConnection) -> None:
        """Hand on messages until the worker's end closes; when cancelled, ask it to leave first."""
        try:
            await self._listen(pipe)
        except asyncio.CancelledError:
            self.leave()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._exit_s):
                    await self._listen(pipe)
            raise

    async def _listen(self, pipe: PipeConnection) -> None:
        try:
            async for message in pipe:
                self.heard_ns = time.monotonic_ns()
                if isinstance(message, messages.Beat):
                    self.last_beat = message
                self._on_message(self, message)  # type: ignore[arg-type]  # a wrong direction is ignored there
        except PipeCutError:
            return  # it ended while it wrote: how it ended says why
        except PipeError as error:
            self.kill("crashed", f"it wrote what is no message to its pipe ({error}) and was killed")

    async def _reap(self) -> int:
        """Wait for the process after its pipe closed; one that lingers is killed."""
        assert self._process is not None
        try:
            async with asyncio.timeout(self._exit_s if self._leaving else min(LINGER_S, self._exit_s)):
                return await self._process.wait()
        except TimeoutError:
            self.kill("exited", "it closed its pipe but did not go, and was killed")
            return await self._process.wait()

    async def _finish_printing(self, printing: asyncio.Task[None]) -> None:
        """Read what is left; a grandchild may hold the pipe open for ever."""
        await asyncio.wait([printing], timeout=0.5)
        printing.cancel()

    async def _read_output(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        rest = b""
        while data := await self._process.stdout.read(OUTPUT_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-OUTPUT_BYTES:]
            for line in lines:
                self._line(line)
        if rest:
            self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._last_lines.append(text)
            if text.startswith(CRASH_BEGINS) or (text.startswith(STACK_BEGINS) and not self._stack):
                self._stack = [text]
            elif self._stack and len(self._stack) < STACK_LINES_MAX:
                self._stack.append(text)
            if self._verdict is not None and text.endswith(STACK_ENDS):
                self._signal()
            self._on_line(text)

    def _signal(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _end_forked(self) -> None:
        """Kill what user code forked: it is in the worker's session unless it took pains to leave it."""
        assert self.pid > 0
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _classify(self, status: int) -> Departure:
        beat = self.last_beat
        transaction, step = (beat.transaction, beat.step) if beat is not None else ("", "")
        if self._verdict is not None:
            kind, text = self._verdict
            return Departure(kind, text, transaction, step, tuple(self._stack))
        if self._leaving and status == 0:
            return Departure("left", "it was asked to go")
        last = f"; it last printed: {' | '.join(self._last_lines)}" if self._last_lines else ""
        if status < 0:
            if self._stack and self._stack[0].startswith(CRASH_BEGINS):
                return Departure("crashed", f"it crashed with {_signal_name(-status)}", stack=tuple(self._stack))
            return Departure("crashed", f"it was killed by {_signal_name(-status)}{last}", transaction, step)
        return Departure("exited", f"it ended by itself with status {status}{last}", transaction, step)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
