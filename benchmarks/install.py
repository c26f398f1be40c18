"""Gets the contenders: what the machine has; the rest, each by its package tool, into a cache outside the repository.

`BENCH_CACHE` names its folder (else `~/.cache/loadproof-bench`), `BENCH_BUILD_S` bounds one installation in seconds.
What is built, and about how long that takes, is said before; a build that goes on says so each minute. What cannot be
had is reported as missing with the reason, and never counts as a win.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BUILD_S = 900
_SAY_EACH_S = 60.0
_STAMP = "stamp"


def cache() -> Path:
    """Return the folder of what was built; one for all work trees of a machine."""
    named = os.environ.get("BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "loadproof-bench"


def bound_s() -> int:
    """Return how long one installation may take, in seconds."""
    return int(os.environ.get("BENCH_BUILD_S", str(BUILD_S)))


@dataclass(frozen=True, slots=True)
class Found:
    """A contender that is there: its program (or folder) and its own word for its version."""

    program: str
    version: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A contender that could not be had, and why."""

    reason: str


class InstallError(Exception):
    """An installation failed; the text is the line that says why."""


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def run(command: list[str], *, cwd: Path | None = None, environ: dict[str, str] | None = None) -> str:
    """Run an installer at low priority and return what it said. Raises InstallError, with all it started ended."""
    bound, began = bound_s(), time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        try:
            process = subprocess.Popen(
                ["nice", "-n", "10", *command], cwd=cwd, env={**os.environ, **(environ or {})}, text=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            while process.poll() is None:
                left = began + bound - time.monotonic()
                if left <= 0:
                    raise InstallError(
                        f"{command[0]} was not done after {bound} s and was ended; run again to go on, "
                        "or set BENCH_BUILD_S higher"
                    )
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(_SAY_EACH_S, left))
                    break
                say(f"  {command[0]} goes on, {time.monotonic() - began:.0f} s of at most {bound} s")
        finally:
            end_group(process)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise InstallError(f"{' '.join(command[:3])}: {_why(said)}")
    return said


def end_group(process: subprocess.Popen[str], grace_s: float = 5.0) -> None:
    """End a process that was started with a session of its own, and all it started. Nothing if it has ended."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    with contextlib.suppress(ProcessLookupError):  # what did not listen
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(grace_s)


def _why(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"error|fail|denied|unreachable|not found", line, re.IGNORECASE)]
    reason = (told or lines[-1:] or ["no output"])[0]  # what follows the first are its consequences
    return re.sub(r"https?://\S+", "(its address)", reason)[:200]


def built(name: str, stamp: str, takes: str, build: Callable[[Path], None]) -> Path:
    """Return the cache's folder `name`, which `build` fills unless the stamp in it says that it was filled so before.

    `stamp` is all that the result depends on (versions, sources); `takes` says how long a first build takes.
    A build that is broken off keeps what it has, so that the next one goes on.
    """
    folder = cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _STAMP
    if not mark.exists() or mark.read_text(encoding="utf-8") != stamp:
        say(f"{name}: building it, once; {takes} (at most {bound_s()} s; BENCH_WITHOUT skips it)")
        build(folder)
        mark.write_text(stamp, encoding="utf-8")
    return folder


def install(name: str, recipe: Callable[[], Found]) -> Found | Missing:
    """Return the contender that `recipe` gets, or why it is missing."""
    try:
        return recipe()
    except (InstallError, OSError) as error:
        return Missing(f"{error}" or f"{name} could not be installed")
