"""Where results and complaints go: streams that end early, lack letters or were never there change nothing else."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from loadproof_cli.console import Console
from shop_cli import COMMAND, environment, loadproof_here, write_suite

TOML = '[profiles.p]\narrivals = [{ rate = "1/s", for = "1s" }]\n'
SUITE = """
from loadproof import Suite

suite = Suite("B\u00fccher \u2014 \u2603")


@suite.transaction("Suche")
async def search(user):
    await user.think(0.01)
"""


class Gone(io.StringIO):
    """A pipe whose reader has gone away."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_reader_who_has_gone_away_changes_nothing() -> None:
    """`loadproof run 2>&1 | head` neither ends the run nor changes its exit code."""
    console = Console((), {}, Path("/"), Gone(), Gone())
    console.say("progress")
    console.line("result")
    console.result("result")
    console.say("more")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "suite", toml=TOML, suite=SUITE)


def command(suite: Path, way: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `check` in a shell, with what follows it there."""
    line = ["sh", "-c", f'"$@" {way}', "sh", *COMMAND, "check", str(suite)]
    return subprocess.run(line, capture_output=True, timeout=240, check=False, env=environment(env))


def test_a_stream_that_was_closed_for_us_is_none(suite: Path) -> None:
    """Started without standard output or standard error, as some schedulers do, the command works in silence."""
    for way in (">&-", "2>&-", ">&- 2>&-"):
        done = command(suite, way)
        assert done.returncode == 0, done.stderr


def test_letters_that_a_terminal_lacks_are_question_marks(suite: Path) -> None:
    """A name outside the stream's encoding is shown as far as it can be."""
    done = command(suite, "", {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"B?cher ? ?, profile p\n")


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    """It is a wrong place to be, not an error of ours."""
    folder = tmp_path / "gone"
    told = "the working folder is gone; change to another one.\n"
    for way, said in (("", told), ("2>&-", "")):
        folder.mkdir(exist_ok=True)
        line = ["sh", "-c", f'cd "$0" && rmdir "$0" && exec "$@" {way}', str(folder), *COMMAND, "check"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False, env=environment())
        assert (done.returncode, done.stderr) == (2, said)


def test_files_of_a_suite_are_named_as_they_are_typed_here(tmp_path: Path) -> None:
    """A mistake's place can be copied from the message, as the documentation shows it."""
    write_suite(tmp_path / "shop", toml=TOML.replace("1/s", "1/sec"), suite=SUITE)
    done = loadproof_here("check", "shop", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"shop{os.sep}loadproof.toml:2: ")
    write_suite(tmp_path / "shop", toml=TOML + "[environment]\ntargets = []\n", suite=SUITE.replace("await", "1 #"))
    done = loadproof_here("check", "shop", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.err.startswith(f"warning: shop{os.sep}suite.py:")
