"""The commands that the tutorial tells people to type do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from shop_cli import environment, run_json
from tree import ROOT

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("load")]

MARKED = re.compile(r"^<!-- run -->\n```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the commands of a page's console blocks that are marked to be run."""
    blocks = MARKED.findall((ROOT / page).read_text(encoding="utf-8"))
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_tutorial_leads_to_a_verdict(tmp_path: Path) -> None:
    """Typed one after another, the tutorial's commands succeed and leave a run with a GO."""
    typed = commands("docs/tutorial/README.md")
    assert [line.split()[1] for line in typed] == ["init", "check", "try", "run"]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for line in typed:
        done = subprocess.run(
            line.split(), cwd=tmp_path, env=environment({"PATH": path}), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    (folder,) = (tmp_path / "runs").iterdir()
    report = run_json(folder)
    assert report["verdict"]["decision"] == "GO"
    assert report["delivery"]["started"] == 150
