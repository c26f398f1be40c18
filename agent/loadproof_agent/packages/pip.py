"""Runs pip on a lock: hashes required, wheels only, bounded in time and size, without secrets around it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable
from pathlib import Path

from loadproof.lockfile import Lock
from loadproof_agent.config import PackageLimits
from loadproof_agent.errors import RunError
from loadproof_agent.worker_process import ENVIRONMENT_ALLOWED

CODE = "requirements"
"""Code of every Problem about a suite's packages."""

LOOK_EACH_S = 0.2
TAIL_LINES_MAX = 6
TAIL_BYTES = 16 * 1024
LINE_CHARACTERS_MAX = 300

SOURCES_ALLOWED = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_CERT",
    "PIP_CLIENT_CERT", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_TIMEOUT", "PIP_RETRIES", "PIP_CONFIG_FILE",
    "PIP_KEYRING_PROVIDER", "NETRC", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip
"""How the operator of an agent says where packages come from: pip's own variables, and nothing else of pip's."""

_CREDENTIALS = re.compile(r"://[^/\s@]+@")


async def pip_install(lock: Lock, into: Path, scratch: Path, limits: PackageLimits, wanted: Callable[[], bool]) -> None:
    """Install the lock's packages into the folder `into`, with everything pip needs meanwhile below `scratch`.

    Both must lie in one folder that the caller removes on failure. Raises RunError with pip's last lines, also when
    `wanted()` has become false, which is asked a few times a second.
    """
    listed, log = scratch / "requirements.txt", scratch / "pip.log"
    await asyncio.to_thread(listed.write_text, lock.text(), "utf-8")
    descriptor = await asyncio.to_thread(os.open, log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *_command(listed, into), stdin=DEVNULL, stdout=descriptor, stderr=STDOUT, cwd=scratch,
            env=pip_environment(scratch), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise RunError(CODE, f"pip could not be started for {lock.file}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    try:
        code = await _watched(process, lock, scratch.parent, limits, wanted)
    finally:
        _kill(process)
        await process.wait()
    if code:
        tail = await asyncio.to_thread(_tail, log)
        text = f"pip could not install {lock.file} (exit code {code}); it last said: {' | '.join(tail)}"
        raise RunError(CODE, text, "\n".join(tail))


def _command(listed: Path, into: Path) -> list[str]:
    # -P: nothing is imported from the working folder. Of a wheel no code runs while it is installed, of a source
    # distribution its build script would.
    return [
        sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color", "--no-cache-dir",
        "install", "--quiet", "--progress-bar=off", "--no-warn-script-location", "--require-hashes",
        "--only-binary=:all:", f"--target={into}", f"--requirement={listed}",
    ]  # fmt: skip


def pip_environment(scratch: Path) -> dict[str, str]:
    """Return the environment of pip: the allowed names only, and its temporary files below `scratch`."""
    allowed = (*ENVIRONMENT_ALLOWED, *SOURCES_ALLOWED)
    return {name: os.environ[name] for name in allowed if name in os.environ} | {"TMPDIR": str(scratch)}


async def _watched(
    process: Process, lock: Lock, folder: Path, limits: PackageLimits, wanted: Callable[[], bool]
) -> int:
    """Wait for pip's end. Raises RunError beyond a limit, or when nobody wants the packages any more."""
    give_up_s = time.monotonic() + limits.limit_s
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EACH_S):
                code = await process.wait()
                await _check_size(lock, folder, limits)
                return code
        await _check_size(lock, folder, limits)
        if not wanted():
            raise RunError(CODE, f"{lock.file} was no longer wanted; its installation was given up")
        if time.monotonic() >= give_up_s:
            text = (
                f"{lock.file} was not installed within {limits.limit_s:g} s; is the package index reachable from here?"
            )
            raise RunError(CODE, text)


async def _check_size(lock: Lock, folder: Path, limits: PackageLimits) -> None:
    used = await asyncio.to_thread(size_of, folder)
    if used > limits.bytes_max:
        text = f"the packages of {lock.file} take more than {limits.bytes_max >> 20} MiB, the most that is installed"
        raise RunError(CODE, f"{text}; build them into the agent's environment instead")


def size_of(folder: Path) -> int:
    """Return the bytes of all files below `folder`; what vanishes meanwhile counts nothing."""
    total = 0
    for parent, _folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118  # tens of thousands of names
    return total


def _kill(process: Process) -> None:
    """Kill pip and what it started, should any of it still run: it is in a session of its own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _tail(log: Path) -> list[str]:
    """Return pip's last lines, without credentials of an index."""
    with log.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.strip() for line in _CREDENTIALS.sub("://***@", text).splitlines()]
    return [line[:LINE_CHARACTERS_MAX] for line in lines if line][-TAIL_LINES_MAX:]
