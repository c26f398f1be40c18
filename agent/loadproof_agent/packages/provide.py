"""From an unpacked suite to the packages it needs, if it needs any and this agent may install them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from loadproof.lockfile import LOCK_BYTES_MAX, Lock, LockError, parse_lock
from loadproof_agent.errors import RunError
from loadproof_agent.packages.pip import CODE
from loadproof_agent.packages.store import PackageStore
from loadproof_agent.records import Prepare


def locked_requirements(prepare: Prepare, suite: Path) -> Lock | None:
    """Return the lock of the run's suite, unpacked in `suite`; None where it needs no packages. Raises RunError.

    A spec that can't be read is not told here: the crew does.
    """
    try:
        file = orjson.loads(prepare.spec).get("requirements")
    except (ValueError, AttributeError):
        return None
    if file is None:
        return None
    path = suite / str(file)
    if not path.resolve().is_relative_to(suite.resolve()):
        raise RunError(CODE, "the run's lock file lies outside of its suite; submit the run again")
    try:
        with path.open("rb") as stream:
            return parse_lock(stream.read(LOCK_BYTES_MAX + 1), str(file))
    except OSError as error:
        text = f"{file} is not in the suite's bundle ({error.strerror}); submit the run again"
        raise RunError(CODE, text) from error
    except LockError as error:
        raise RunError(CODE, str(error)) from error


@asynccontextmanager
async def packages_of(
    prepare: Prepare, suite: Path, store: PackageStore | None, *, wanted: Callable[[], bool]
) -> AsyncIterator[Path | None]:
    """Give the folder with the suite's packages, None where it needs none; they are not removed meanwhile.

    `store` None: whoever runs this agent has not allowed it to install any. Raises RunError.
    """
    lock = await asyncio.to_thread(locked_requirements, prepare, suite)
    if lock is None:
        yield None
        return
    if store is None:
        text = f"the suite needs the packages of {lock.file}, and this agent installs none unasked"
        raise RunError(CODE, f"{text}: start it with --allow-requirements")
    provided = await store.provide(lock, wanted=wanted)
    try:
        yield provided.path
    finally:
        provided.close()
