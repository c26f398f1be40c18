"""The commands that the tutorial tells people to type do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service_mode import free_ports
from shop_cli import Finished, assert_went_well, environment, run_json
from tree import ROOT

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("load")]

MARKED = re.compile(r"^<!-- run -->\n```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the commands of a page's console blocks that are marked to be run."""
    blocks = MARKED.findall((ROOT / page).read_text(encoding="utf-8"))
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def use_a_port_of_its_own(suite: Path) -> None:
    """Move the practice target away from the port of everybody's: one that is there would be used, and might end."""
    port = str(free_ports()[0])
    for name in ("suite.py", "practice_target.py"):
        text = (suite / name).read_text(encoding="utf-8")
        assert "8089" in text
        (suite / name).write_text(text.replace("8089", port), encoding="utf-8")


def test_the_tutorial_leads_to_a_verdict(tmp_path: Path) -> None:
    """Typed one after another, the tutorial's commands succeed and leave a run whose rules hold."""
    typed = commands("docs/tutorial/README.md")
    assert [line.split()[1] for line in typed] == ["init", "check", "try", "run"]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for line in typed:
        ended = subprocess.run(
            line.split(), cwd=tmp_path, env=environment({"PATH": path}), capture_output=True, text=True, check=False
        )
        done = Finished(ended.returncode, ended.stdout, ended.stderr)
        if line.split()[1] == "run":
            (folder,) = (tmp_path / "runs").iterdir()
            assert assert_went_well(done, folder) in {"GO", "NOT PROVEN"}
            assert run_json(folder)["delivery"]["started"] == 150
        else:
            assert done.code == 0, f"{line}\n{done.out}\n{done.err}"
        if line.split()[1] == "init":
            use_a_port_of_its_own(tmp_path / line.split()[2])
