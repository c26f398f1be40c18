"""Where installed packages are kept: a folder for each lock and Python, whole or not there at all.

    FOLDER/lock                      held while something is installed or removed, by one process of the machine
    FOLDER/KEY/site-packages         what workers import; KEY is of the lock's sha256 and the Python it was made for
    FOLDER/KEY/use                   locked, shared, by everybody who uses it, so that nobody removes it
    FOLDER/new-...                   being made or removed; a leftover of a process that was killed is removed

Locks are `flock`s, which end with their process, however it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.metadata
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from loadproof.lockfile import Lock, normal_name
from loadproof_agent.config import PackageLimits
from loadproof_agent.errors import RunError
from loadproof_agent.packages.pip import CODE, LOOK_EACH_S, pip_install

SITE = "site-packages"
SCRATCH_PREFIX = "new-"
CONFLICTS_SHOWN = 5


@dataclass(slots=True)
class Provided:
    """Installed packages in use; `close()` lets others remove them. `path` goes behind everything on `sys.path`."""

    path: Path
    descriptor: int

    def close(self) -> None:
        """Use them no longer."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class PackageStore:
    """The installed packages below a folder, which several processes may share."""

    def __init__(self, folder: Path, limits: PackageLimits | None = None) -> None:
        self._folder = folder
        self._limits = limits or PackageLimits()

    async def provide(self, lock: Lock, *, wanted: Callable[[], bool] = lambda: True) -> Provided:
        """Return the lock's packages, installed now unless they are there.

        Raises RunError: pip's words, a limit, a package that this Python has in another version, or `wanted()` false
        before the end. Nothing half installed is left, whatever happens.
        """
        try:
            await asyncio.to_thread(self._folder.mkdir, 0o700, parents=True, exist_ok=True)
            async with self._alone(lock, wanted):
                place = self._folder / key_of(lock)
                if not await asyncio.to_thread((place / SITE).is_dir):
                    await self._install(lock, place, wanted)
                await asyncio.to_thread(_refuse_conflicts, lock, place)
                provided = await asyncio.to_thread(_use, place)
                await asyncio.to_thread(self._forget_oldest)
        except OSError as error:
            text = f"{lock.file} cannot be installed below {self._folder}: {error.strerror or error}"
            raise RunError(CODE, text) from error
        return provided

    @asynccontextmanager
    async def _alone(self, lock: Lock, wanted: Callable[[], bool]) -> AsyncIterator[None]:
        """Be the only process that installs or removes here; waits at most as long as an installation may take."""
        descriptor = await asyncio.to_thread(os.open, self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        give_up_s = time.monotonic() + self._limits.limit_s
        try:
            while not _locked(descriptor, fcntl.LOCK_EX):
                if not wanted():
                    raise RunError(CODE, f"{lock.file} was no longer wanted; its installation was given up")
                if time.monotonic() >= give_up_s:
                    text = f"another process has been installing packages below {self._folder} for too long"
                    raise RunError(CODE, f"{text}; {lock.file} was not installed")
                await asyncio.sleep(LOOK_EACH_S)
            yield
        finally:
            os.close(descriptor)

    async def _install(self, lock: Lock, place: Path, wanted: Callable[[], bool]) -> None:
        await asyncio.to_thread(self._remove_leftovers)
        making = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=SCRATCH_PREFIX, dir=self._folder))
        try:
            whole, scratch = making / "whole", making / "scratch"
            await asyncio.to_thread(whole.mkdir)
            await asyncio.to_thread(scratch.mkdir)
            await pip_install(lock, whole / SITE, scratch, self._limits, wanted)
            await asyncio.to_thread((whole / SITE).mkdir, exist_ok=True)  # markers may have left nothing to install
            await asyncio.to_thread(whole.rename, place)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, making, ignore_errors=True))

    def _remove_leftovers(self) -> None:
        for path in self._folder.glob(f"{SCRATCH_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _forget_oldest(self) -> None:
        """Remove what was used longest ago beyond the number that is kept, except what is in use."""
        uses = sorted(self._folder.glob("*/use"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for use in uses[self._limits.kept_max :]:
            descriptor = os.open(use, os.O_RDWR)
            try:
                if _locked(descriptor, fcntl.LOCK_EX):
                    going = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=self._folder))
                    use.parent.rename(going / "old")
                    shutil.rmtree(going, ignore_errors=True)
            finally:
                os.close(descriptor)


def key_of(lock: Lock) -> str:
    """Return the name of a lock's folder: of its sha256, and of the Python and the machine its wheels are for."""
    abi = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    return f"{lock.sha256[:40]}-{abi}-{sysconfig.get_platform()}"


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _use(place: Path) -> Provided:
    descriptor = os.open(place / "use", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.utime(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return Provided(place / SITE, descriptor)


def _refuse_conflicts(lock: Lock, place: Path) -> None:
    """Raise RunError for packages that this Python has in another version: its own come first, so the lock's would
    never be imported.
    """
    own: dict[str, str] = {}
    ours = [entry for entry in sys.path if not Path(entry).is_relative_to(place.parent)]
    for distribution in importlib.metadata.distributions(path=ours):
        own.setdefault(normal_name(distribution.name or ""), distribution.version)
    conflicts = []
    for distribution in importlib.metadata.distributions(path=[str(place / SITE)]):
        name, version = normal_name(distribution.name or ""), distribution.version
        if own.get(name, version) != version:
            conflicts.append(f"{name}=={own[name]} (the lock has {version})")
    if conflicts:
        shown = ", ".join(sorted(conflicts)[:CONFLICTS_SHOWN])
        more = f" and {len(conflicts) - CONFLICTS_SHOWN} more" if len(conflicts) > CONFLICTS_SHOWN else ""
        text = f"{lock.file} is in conflict with the Python of this machine, which comes first: pin {shown}{more}"
        raise RunError(CODE, text)
