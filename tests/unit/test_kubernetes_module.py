"""The go.mod with which the scripts build parts of Kubernetes from its published modules."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tree import ROOT

GO = """#!/bin/sh
case "$1 $2" in
"mod download") echo '{"GoMod": "'"$FAKES"'/upstream.mod"}' ;;
"mod tidy") cp go.mod "$FAKES/made.mod" ;;
esac
"""
UPSTREAM = """module k8s.io/kubernetes
go 1.24.0
require github.com/other/thing v1.2.3
replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/client-go => ./staging/src/k8s.io/client-go
)
"""
MADE = """go 1.24.0
require k8s.io/kubernetes v1.34.1
replace k8s.io/api => k8s.io/api v0.34.1
replace k8s.io/client-go => k8s.io/client-go v0.34.1
"""


@pytest.mark.parametrize(("folder", "name"), [("kube_apiserver", "kube-controllers"), ("kube_validator", "validator")])
def test_libraries_in_folders_become_modules_with_versions(tmp_path: Path, folder: str, name: str) -> None:
    """Both scripts, run with a `go` that only notes the file, make the same module but for its name."""
    (tmp_path / "go").write_text(GO, encoding="utf-8")
    (tmp_path / "go").chmod(0o755)
    (tmp_path / "upstream.mod").write_text(UPSTREAM, encoding="utf-8")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKES": str(tmp_path)}
    command = ["sh", str(ROOT / "tests" / "support" / folder / "build.sh"), str(tmp_path / "out")]
    subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "made.mod").read_text(encoding="utf-8") == f"module {name}\n{MADE}"
