"""The commands of the release-candidate runbook, typed one after another, lead from an empty cluster to a report."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kube_stand_in import stand_in
from service_mode import deployed
from shop_cli import counted_suite, loadproof, run_json
from shop_process import running_shop
from tree import ROOT

pytest.importorskip("kubernetes")
pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("load")]

MARKED = re.compile(r"^<!-- run -->\n```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROFILES = """
[profiles.smoke]
arrivals = [{ rate = "10/s", for = "1s" }]

[profiles.release]
arrivals = [{ rate = "20/s", for = "2s" }]
"""


def test_the_runbook_leads_to_a_report(tmp_path: Path) -> None:
    """Every marked command succeeds in order; in the end there is a report, and nothing in the cluster."""
    page = (ROOT / "docs/how-to/release-candidate.md").read_text(encoding="utf-8")
    typed = [
        line.removeprefix("$ ").replace("\\", "")
        for block in MARKED.findall(page)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert len(typed) == 11
    counted_suite(tmp_path / "shop", PROFILES)
    with running_shop() as shop, deployed(tmp_path, {}) as place, stand_in(tmp_path / "cluster") as cluster:
        env = {**place.operator, **cluster.kubeconfig(), "LOADPROOF_IMAGE": "loadproof:test", "SHOP_URL": shop.url}
        for line in typed:
            words = shlex.split(line)
            assert words[0] == "loadproof"
            done = loadproof(*words[1:], cwd=tmp_path, env=env, timeout=400)
            assert done.code == 0 or (words[1] == "run" and done.code == 3), f"{line}\n{done.out}\n{done.err}"
            if words[1] == "fleet":
                assert "no agents are attached" in done.out
        assert cluster.left() == {}
    report = run_json(tmp_path / "candidate")
    assert report["build"] == "1.5.0-rc1"
    assert report["delivery"]["started"] == 40
    assert (tmp_path / "note" / "report.md").is_file()
