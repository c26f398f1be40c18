"""The script that builds helm for `.ci/run`: whatever goes wrong costs one line and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tree import ROOT

NEEDED = ("sh", "mkdir", "mktemp", "timeout", "nice", "tail", "cut", "rm", "cat", "chmod")


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """Make a folder with the shell's usual commands, to be the whole PATH: neither go nor helm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} on this machine")
        (folder / name).symlink_to(found)
    return folder


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def build(commands: Path, target: Path) -> list[str]:
    """Run the script; return the lines it says."""
    env = {"PATH": str(commands), "TMPDIR": str(commands.parent), "HOME": os.environ.get("HOME", "/")}
    command = [str(commands / "sh"), str(ROOT / ".ci" / "helm.sh"), str(target)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_without_go_one_line_says_what_is_skipped(commands: Path, tmp_path: Path) -> None:
    """A machine without Go gets no helm, a reason, and the code of success."""
    (line,) = build(commands, tmp_path / "tools")
    assert "no go" in line
    assert "skipped" in line


def test_a_failing_build_is_one_line_with_its_last_words(commands: Path, tmp_path: Path) -> None:
    """What go said last is told, in one line; nothing is left of its log."""
    script(commands, "go", 'echo first; echo "module not found" >&2; exit 1')
    (line,) = build(commands, tmp_path / "tools")
    assert "could not be built (module not found)" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "tools"]


def test_helm_is_built_once_at_a_pinned_version(commands: Path, tmp_path: Path) -> None:
    """Go is asked for one exact version, into the folder; a second call finds it there and says nothing."""
    script(commands, "go", 'echo "$@" >>"$GOBIN/asked"; echo >"$GOBIN/helm"; chmod +x "$GOBIN/helm"')
    tools = tmp_path / "tools"
    assert len(build(commands, tools)) == 1
    assert build(commands, tools) == []
    asked = (tools / "asked").read_text().split()
    assert asked[0] == "install"
    assert len(asked) == 2
    assert asked[1].partition("@")[2].startswith("v3.")


def test_a_helm_that_is_installed_is_used(commands: Path, tmp_path: Path) -> None:
    """Nothing is built where PATH has one."""
    script(commands, "helm", "exit 0")
    script(commands, "go", "exit 1")
    assert build(commands, tmp_path / "tools") == []
