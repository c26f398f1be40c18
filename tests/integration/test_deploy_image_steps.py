"""The image's steps without an engine: run in a fresh virtual environment, as the Dockerfile runs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tree import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_build_steps_give_a_working_command(tmp_path: Path) -> None:
    """What the first stage copies and runs installs at the pinned versions and answers; the second copies it whole."""
    context = tmp_path / "src"
    context.mkdir()
    lines = (ROOT / "deploy/docker/Dockerfile.dockerignore").read_text().splitlines()
    for source in [line[1:] for line in lines if line.startswith("!")]:
        place = ROOT / source
        target = context / place.name
        if place.is_dir():
            shutil.copytree(place, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, target)
    venv = tmp_path / "opt"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    for step in ("dependencies", "package"):
        done = subprocess.run(
            ["sh", "install.sh", step], cwd=context,
            env={"PATH": "/usr/bin:/bin", "VENV": str(venv), "HOME": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert "loadproof " in done.stdout
    helped = subprocess.run(
        [venv / "bin" / "loadproof", "controller", "--help"], capture_output=True, text=True, check=True
    )
    assert "--listen" in helped.stdout
