"""A full disk: the run goes on in memory and says so, and no file is ever seen half-written."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fault_cli import FileLimit, command
from fault_scene import fault_scene
from fault_target import CountingTarget
from loadproof_controller.runlog import replay
from shop_cli import write_suite

SUITE = """
from loadproof import Suite

suite = Suite("Faulty", base_url="${TARGET}")


@suite.transaction("Browse")
async def browse(user):
    (await user.http.get("/item")).check(status=200)
"""
TOML = """
[suite]
module = "suite.py"

[profiles.fault]
arrivals = [{ rate = "40/s", for = "1s" }]

[[rules]]
transaction = "*"
require = "success_rate >= 95%"
"""


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Give a file system of 1 MB with nothing left on it. Skips the test where that is not permitted."""
    place.mkdir()
    mount = shutil.which("mount")
    asked = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or os.geteuid() != 0 or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        fill(place)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Write until nothing is left."""
    with (place / "filler").open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(64 * 1024))


async def test_a_run_whose_log_is_full_goes_on_in_memory(tmp_path: Path) -> None:
    """When the log can grow no more every number is still counted, the evidence says it, and the log reads back."""
    async with fault_scene(tmp_path, "a1") as scene:
        request = scene.request(profile='arrivals = [{ rate = "60/s", for = "2s" }]', snapshot_ms=100)
        with FileLimit(2_000):
            outcome = await scene.finish(request)
        assert outcome.requests() == outcome.completed == len(scene.target.got) == 120
    assert "a crash would lose it" in outcome.finding("log_failed")
    assert "could not be written" in outcome.finding("log_failed")
    assert len(outcome.events("log_failed")) == 1
    assert outcome.code == (0 if outcome.went_well() else 3)
    assert "log_failed" in json.dumps([finding.code for finding in outcome.result.evidence.findings])
    assert replay(request.folder / "run.log").torn_bytes == 0


async def test_a_log_on_a_full_file_system_is_the_same(tmp_path: Path) -> None:
    """A file system that fills up during the run is met like a limit on the file."""
    async with fault_scene(tmp_path, "a1") as scene:
        request = scene.request(profile='arrivals = [{ rate = "60/s", for = "2s" }]', snapshot_ms=100)
        request.folder.rmdir()
        with small_disk(request.folder) as disk:
            (disk / "filler").write_bytes(b"")
            with (disk / "filler").open("wb", buffering=0) as filler:
                filler.write(bytes(os.statvfs(disk).f_bavail * 4096 - 4096))
            outcome = await scene.finish(request)
            assert outcome.requests() == outcome.completed == len(scene.target.got) == 120
            assert "No space left" in outcome.finding("log_failed")


async def test_a_report_that_finds_no_room_is_written_elsewhere(tmp_path: Path) -> None:
    """With `--out` on a disk that fills up the numbers are printed, the files kept in another folder; code 5."""
    suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE)
    (tmp_path / "tmp").mkdir()
    with small_disk(tmp_path / "disk") as disk:
        async with CountingTarget() as target:
            env = {"TARGET": target.url, "TMPDIR": str(tmp_path / "tmp")}
            (disk / "filler").write_bytes(b"")
            async with asyncio.TaskGroup() as group:
                words = ("run", suite, "--workers", "1", "--out", disk / "out")
                running = group.create_task(command(*words, cwd=tmp_path, env=env))
                await target.received(1)
                fill(disk)
            done = running.result()
            received = len(target.got)
        left = list((disk / "out").iterdir()) if (disk / "out").exists() else []
        assert done.code == 5, done.out + done.err
        assert "GO" in done.out
        assert "No space left on device" in done.err
        assert not [path for path in left if path.name == "run.json" and not path.stat().st_size]
        for path in left:
            assert path.suffix != ".json" or json.loads(path.read_text())
    elsewhere = re.search(r"It is in (\S+) instead", done.err.replace("\n", " "))
    assert elsewhere is not None, done.err
    report = json.loads((Path(elsewhere[1]) / "run.json").read_text())
    assert report["delivery"]["completed"] == received == 40


async def test_a_disk_that_is_full_already_is_told_before_any_load(tmp_path: Path) -> None:
    """The place and the reason in one line, code 5, and not one request."""
    suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE)
    with small_disk(tmp_path / "disk") as disk:
        async with CountingTarget() as target:
            out = disk / "out"
            done = await command("run", suite, "--out", out, cwd=tmp_path, env={"TARGET": target.url})
        text = f"--out {out}: it cannot be written to (No space left on device); nothing was started.\n"
        assert (done.code, done.out, done.err) == (5, "", text)
        assert not target.got
        assert [path.name for path in disk.iterdir()] == ["filler"]


async def test_a_limit_on_files_leaves_no_half_of_any(tmp_path: Path) -> None:
    """Where no file may grow beyond 70 KB the run is made, its numbers are printed, and no file is left cut short."""
    suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE)
    async with CountingTarget() as target:
        out = tmp_path / "out"
        env = {"TARGET": target.url}
        words = ("run", suite, "--workers", "1", "--out", out)
        done = await command(*words, cwd=tmp_path, env=env, file_bytes_max=70_000)
        received = len(target.got)
    assert done.code == 5, done.out + done.err
    assert received == 40
    assert "File too large" in done.err
    assert "Browse" in done.out
    for path in out.iterdir() if out.exists() else ():
        assert path.suffix != ".html", path
        assert path.suffix != ".json" or json.loads(path.read_text())
