"""Where suites are unpacked: a private folder per run, from a bundle whose hash was checked first."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from loadproof.bundle import BundleError, extract_bundle
from loadproof_agent.errors import RunError
from loadproof_agent.records import Prepare

Fetch = Callable[[str, str, int], Awaitable[bytes]]
"""(run_id, sha256, size in bytes) -> the bundle's bytes; raises AgentError."""


@asynccontextmanager
async def unpacked_bundle(
    prepare: Prepare, fetch: Fetch, *, bytes_max: int, cache_dir: Path | None = None
) -> AsyncIterator[Path]:
    """Fetch, check and unpack a run's bundle into a fresh folder (mode 0700) that is removed on leaving.

    With `cache_dir` a bundle is fetched once and kept there under its hash. Raises RunError("bundle", ...).
    """
    if prepare.bundle_bytes > bytes_max:
        raise RunError("bundle", f"the suite's bundle has {prepare.bundle_bytes} bytes, at most {bytes_max} are taken")
    try:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="loadproof-run-"))  # mkdtemp: 0700
    except OSError as error:
        raise RunError("bundle", f"no folder can be made for the suite: {error}") from error
    try:
        suite = folder / "suite"
        try:
            data = await _provide(prepare, fetch, cache_dir)
            await asyncio.to_thread(extract_bundle, data, prepare.bundle_sha256, suite)
        except (BundleError, OSError) as error:
            raise RunError("bundle", f"the suite's bundle can't be unpacked: {error}") from error
        yield suite
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def _provide(prepare: Prepare, fetch: Fetch, cache_dir: Path | None) -> bytes:
    data = await asyncio.to_thread(_cached, prepare.bundle_sha256, cache_dir)
    if data is None:
        data = await fetch(prepare.run_id, prepare.bundle_sha256, prepare.bundle_bytes)
        _check(data, prepare)
        await asyncio.to_thread(_keep, data, prepare.bundle_sha256, cache_dir)
    return data


def _check(data: bytes, prepare: Prepare) -> None:
    found = hashlib.sha256(data).hexdigest()
    if len(data) != prepare.bundle_bytes or found != prepare.bundle_sha256:
        raise RunError(
            "bundle",
            f"the fetched bundle has {len(data)} bytes and sha256 {found[:12]}, the run names {prepare.bundle_bytes} "
            f"bytes and {prepare.bundle_sha256[:12]}; submit the run again",
        )


def _cached(sha256: str, cache_dir: Path | None) -> bytes | None:
    if cache_dir is None or not sha256.isalnum():
        return None
    try:
        data = (cache_dir / f"{sha256}.zip").read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def _keep(data: bytes, sha256: str, cache_dir: Path | None) -> None:
    if cache_dir is None or not sha256.isalnum():
        return
    cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache_dir, delete=False) as scratch:
        scratch.write(data)
    Path(scratch.name).replace(cache_dir / f"{sha256}.zip")
