"""The one object through which argv, environment, working folder, streams, signals and time enter the command.

Commands take it from the context (`console_of`); tests make one with streams of their own and call `main.main`.
Results go to `out`, progress and complaints to `err`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TextIO

import typer
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.text import Text

from loadproof_cli.doctor.readings import MachineReadings, read_machine

PLAIN_WIDTH = 140
"""Columns of tables where there is no terminal to ask."""
STOPPING = (signal.SIGINT, signal.SIGTERM)


class _Printer(RichConsole):
    """Prints until its reader has gone away, and then goes on in silence: rich would end the command with code 1."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def _rich(stream: TextIO, environ: Mapping[str, str]) -> RichConsole:
    terminal = stream.isatty()
    width = None if terminal else PLAIN_WIDTH
    return _Printer(file=stream, width=width, highlight=False, soft_wrap=False, _environ=environ, emoji=False)


@dataclass(slots=True)
class Console:
    """The outside world of one invocation. `closing` is closed at its end."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path
    stdout: TextIO
    stderr: TextIO
    platform: str = sys.platform
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    machine: Callable[[], MachineReadings] = read_machine
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    out: RichConsole = field(init=False)
    err: RichConsole = field(init=False)

    def __post_init__(self) -> None:
        self.out = _rich(self.stdout, self.environ)
        self.err = _rich(self.stderr, self.environ)

    @classmethod
    def from_process(cls) -> Console:
        """Return this process's world. Raises OSError when the working folder is gone."""
        return cls(tuple(sys.argv[1:]), os.environ, Path.cwd(), _writable(sys.stdout), _writable(sys.stderr))

    @property
    def live(self) -> bool:
        """Whether progress may be drawn over itself."""
        return self.err.is_terminal and not self.environ.get("CI")

    def result(self, *parts: RenderableType) -> None:
        """Print a result to standard output; a reader who has gone away changes nothing."""
        self.out.print(*parts)

    def line(self, text: str) -> None:
        """Print one line to standard output as it is, however long."""
        self.out.print(Text(text), soft_wrap=True)

    def say(self, text: str, *, style: str = "") -> None:
        """Tell the person at the terminal something, on standard error, however long."""
        self.err.print(Text(text, style=style), soft_wrap=True)

    def resolve(self, path: Path) -> Path:
        """Return `path` as seen from the working folder."""
        return path if path.is_absolute() else self.cwd / path

    def shown(self, path: Path) -> str:
        """Return `path` as short as it can be typed here."""
        with contextlib.suppress(ValueError):
            return str(path.relative_to(self.cwd))
        return str(path)

    def shortened(self, text: str) -> str:
        """Return a text that begins with a path, such as `FILE:LINE: ...`, with the path as seen from here."""
        return text.removeprefix(f"{self.cwd}/")

    @contextlib.contextmanager
    def interrupts(self, handler: Callable[[], None]) -> Iterator[None]:
        """Call `handler` in the running loop at each SIGINT and SIGTERM while the context lasts."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) or signal.SIG_DFL for number in STOPPING}
        for number in STOPPING:
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number, known in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, known)

    @contextlib.contextmanager
    def terminable(self) -> Iterator[None]:
        """SIGTERM does what Ctrl+C does while the context lasts, and Ctrl+C works where a shell had it ignored.

        A command that is run in another than the main thread leaves signals to whoever runs it, as Python demands.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, signal.default_int_handler) or signal.SIG_DFL
        terminated = signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, terminated or signal.SIG_DFL)
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[Callable[[], None]]:
        """Outside of a loop: SIGINT and SIGTERM raise KeyboardInterrupt while the context lasts, whatever is running.

        Code of others that it is raised in may make another error of it, or go on as if nothing were. So every error
        that leaves the context after a signal is a KeyboardInterrupt, and what is given raises it where it is called.
        """
        asked = False

        def handle(_number: int, _frame: object) -> None:
            nonlocal asked
            asked = True
            raise KeyboardInterrupt

        def check() -> None:
            if asked:
                raise KeyboardInterrupt

        with _handled(handle):
            try:
                yield check
            except Exception as error:
                if asked:
                    raise KeyboardInterrupt from error
                raise

    @contextlib.contextmanager
    def undisturbed(self, handler: Callable[[], None]) -> Iterator[None]:
        """Outside of a loop: SIGINT and SIGTERM only call `handler` while the context lasts."""
        with _handled(lambda _number, _frame: handler()):
            yield

    def flush(self) -> None:
        """Hand over what is buffered; where the reader is gone, keep the interpreter from complaining at its end."""
        for stream in (self.stdout, self.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _writable(stream: TextIO | None) -> TextIO:
    """Return a stream that takes every text: "?" for what its encoding lacks, nothing where it was closed for us."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def console_of(context: typer.Context) -> Console:
    """Return the console of a command's context."""
    console = context.obj
    assert isinstance(console, Console)
    return console


@contextlib.contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) or signal.SIG_DFL for number in STOPPING}
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)
