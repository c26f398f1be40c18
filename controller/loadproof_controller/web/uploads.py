"""A run of an uploaded suite: the form's fields, the suite's zip, and the plan a child process makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiohttp import BodyPartReader, web

from loadproof_controller.errors import RunRefused
from loadproof_controller.fleet_service import FleetService
from loadproof_controller.submission import (
    BASELINES_MAX,
    BUNDLE_BYTES_MAX,
    SUBMISSION_BYTES_MAX,
    Submission,
    decode_submission,
)
from loadproof_controller.text import clean
from loadproof_controller.web.baselines import Baselines
from loadproof_controller.web.problems import refuse
from loadproof_report import ReportError
from loadproof_report.history import StoreError

LOGGER = logging.getLogger(__name__)
ZIP_MAGIC = b"PK\x03\x04"
FIELDS = ("csrf", "profile", "build", "agents", "labels", "variables", "secrets", "wait_for_agents_s")
FIELD_BYTES_MAX = 64 * 1024
PREPARE_S = 60.0
PREPARING_MAX = 2
PROBLEM_CHARACTERS_MAX = 4_000
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
LABEL = re.compile(r"[^=\s]{1,100}")


@dataclass(slots=True)
class Upload:
    """What was sent. `fields` are texts by name; `run_id` and `warnings` are set when the run is taken."""

    fields: dict[str, str] = field(default_factory=dict)
    suite: bytes | None = None
    run_id: str = ""
    warnings: tuple[str, ...] = ()


class Uploads:
    """Reads uploads and submits them. The suite's code runs in a child only, without this process's environment."""

    def __init__(self, service: FleetService, baselines: Baselines) -> None:
        self._service = service
        self._baselines = baselines
        self._preparing = asyncio.Semaphore(PREPARING_MAX)

    async def read(self, request: web.Request, *, check: Callable[[dict[str, str]], None]) -> Upload:
        """Read the form; `check` sees the fields before the suite is read, and may refuse. Raises `Problem`."""
        if not request.content_type.startswith("multipart/form-data"):
            refuse(415, "send the form as multipart/form-data, with the suite's zip as `suite`")
        upload, checked = Upload(), False
        try:
            async for part in await request.multipart():
                name = part.name if isinstance(part, BodyPartReader) else None
                if name == "suite" and isinstance(part, BodyPartReader):
                    check(upload.fields)
                    checked = True
                    upload.suite = await _bounded(part, BUNDLE_BYTES_MAX, "the suite's zip")
                elif name in FIELDS and isinstance(part, BodyPartReader):
                    data = await _bounded(part, FIELD_BYTES_MAX, f"the field {name}", 422)
                    upload.fields[name] = data.decode("utf-8", "replace")
                else:
                    refuse(422, f"unknown field {clean(str(name), 60)!r}; there are suite, {', '.join(FIELDS[1:])}")
        except (ValueError, AssertionError, UnicodeError):
            refuse(400, "the form cannot be read as multipart/form-data")
        if not checked:
            check(upload.fields)
        return upload

    async def start(self, upload: Upload, *, by: str) -> int:
        """Prepare and submit; return how many runs are before it. Raises `Problem` with a line for each mistake."""
        if not upload.suite:
            refuse(422, "choose a suite: a zip of the folder with loadproof.toml")
        if not upload.suite.startswith(ZIP_MAGIC):
            refuse(422, "this is no suite: send a zip of the folder with loadproof.toml")
        settings = _settings(upload.fields)
        if self._preparing.locked():
            refuse(503, "other suites are being read just now; try again in a moment", Retry_After="5")
        async with self._preparing:
            submission_json, bundle = await _prepare(upload.suite, settings)
        try:
            submission = decode_submission(submission_json)
            baselines = await asyncio.to_thread(self._stable, submission)
            submission = dataclasses.replace(submission, baselines=len(baselines))
            ahead = self._service.submit(submission, bundle, baselines, by=by)
        except RunRefused as error:
            refuse(409, str(error))
        upload.run_id, upload.warnings = submission.run_id, submission.shown_warnings
        return ahead

    def _stable(self, submission: Submission) -> list[dict[str, bytes]]:
        """Return the baseline to compare with; without one, or where it cannot be read, the run has none."""
        try:
            return self._baselines.of_run(submission.suite, submission.profile)[:BASELINES_MAX]
        except (StoreError, ReportError) as error:
            LOGGER.warning("run %s is not compared with the stable baseline: %s", submission.run_id, error)
            return []


def _settings(fields: dict[str, str]) -> dict[str, Any]:
    wrong: list[str] = []
    agents, wait = fields.get("agents", "").strip() or "1", fields.get("wait_for_agents_s", "").strip() or "0"
    if not agents.isascii() or not agents.isdigit() or len(agents) > 6:
        wrong.append("agents: it takes a whole number")
    if not wait.isascii() or not wait.isdigit() or len(wait) > 6:
        wrong.append("wait_for_agents_s: it takes a whole number of seconds")
    profile = fields.get("profile", "").strip()
    settings: dict[str, Any] = {
        "profile": profile,
        "build": fields.get("build", "").strip()[:200],
        "labels": _pairs("labels", fields.get("labels", ""), LABEL, wrong),
        "variables": _pairs("variables", fields.get("variables", ""), NAME, wrong),
        "secrets": _pairs("secrets", fields.get("secrets", ""), NAME, wrong),
    }
    if wrong:
        refuse(422, "\n".join(wrong))
    now = datetime.now(UTC)
    slug = re.sub(r"[^a-z0-9]+", "-", profile.lower()).strip("-")[:24] or "run"
    return {**settings, "agents": int(agents), "wait_for_agents_s": int(wait),
            "run_id": f"{now:%Y%m%d-%H%M%S}-{slug}-{secrets.token_hex(2)}"}  # fmt: skip


def _pairs(what: str, text: str, name_is: re.Pattern[str], wrong: list[str]) -> dict[str, str]:
    """Return the NAME=value lines of `text`. A message never repeats a value."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if line.strip() and (not equals or not name_is.fullmatch(name)):
            wrong.append(f"{what}, line {number}: it takes NAME=value")
        elif line.strip():
            pairs[name] = value
    return pairs


async def _bounded(part: BodyPartReader, limit: int, what: str, status: int = 413) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(256 * 1024):
        data += chunk
        if len(data) > limit:
            refuse(status, f"{what} is over {limit} bytes")
    return bytes(data)


async def _prepare(suite: bytes, settings: dict[str, Any]) -> tuple[bytes, bytes]:
    """Let a child make the submission. Raises `Problem` with what is wrong with the suite."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="loadproof-upload-"))
    try:
        await asyncio.to_thread((folder / "suite.zip").write_bytes, suite)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "loadproof_controller.web.prepare",
            cwd=folder, env=_environment(folder), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(PREPARE_S):
                await child.communicate(orjson.dumps(settings))
        except TimeoutError:
            refuse(422, f"the suite was not read within {PREPARE_S:g} s; what does it do at import?")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # what the suite started at import, too
            await child.wait()
        return await asyncio.to_thread(_collect, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _collect(folder: Path) -> tuple[bytes, bytes]:
    problems = folder / "problems.txt"
    if problems.exists():
        text = _read(problems, PROBLEM_CHARACTERS_MAX * 4).decode("utf-8", "replace")
        refuse(422, clean(text, PROBLEM_CHARACTERS_MAX, lines=True))
    try:
        return (
            _read(folder / "submission.json", SUBMISSION_BYTES_MAX + 1),
            _read(folder / "bundle.zip", BUNDLE_BYTES_MAX),
        )
    except OSError:
        refuse(422, "the suite ended the process that read it; try `loadproof check` on it")


def _read(path: Path, limit: int) -> bytes:
    """Read a file the child left; never through a link it may have left instead."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read(limit)


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
