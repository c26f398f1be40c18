"""The chart in deploy/helm as helm renders it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tree import ROOT

CHART = ROOT / "deploy" / "helm" / "loadproof"
VERSIONS = ("1.30.0", "1.33.0", "1.36.0")

ALL_ON = ("agents.enabled=true", "agents.joinToken=lp1.x.y", "runner.create=true", "agents.labels.region=eu")
READERS = "networkPolicy.readers[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=ingress"
INGRESS = ("web.ingress.enabled=true", "web.ingress.host=load.example.com", "web.ingress.className=nginx", READERS)
BARE = ("web.enabled=false", "networkPolicy.enabled=false", "controller.podDisruptionBudget=false")
EGRESS = (
    "networkPolicy.controllerEgress[0].to[0].ipBlock.cidr=192.0.2.7/32",
    "networkPolicy.controllerEgress[0].ports[0].port=5432",
)
STORE = ("controller.store.secret=history", "controller.store.key=address", *EGRESS)
RELAYS = ("relays.enabled=true", "relays.joinToken=lp1.x.z", "relays.count=3", "agents.replicas=3000")
VARIANTS = ((), (*ALL_ON, *STORE), (*ALL_ON, *INGRESS, "web.ingress.tlsSecret=load-tls"), (*ALL_ON, *RELAYS), BARE)
"""Options as they come, on with a run history elsewhere, on with an Ingress, on with relays, and off."""


def helm() -> str:
    """Return the helm command, or skip."""
    places = [shutil.which("helm"), str(Path(os.environ.get("GOBIN", Path.home() / "go" / "bin")) / "helm")]
    found = next((place for place in places if place and Path(place).is_file()), None)
    if found is None:
        pytest.skip("no helm: go install helm.sh/helm/v3/cmd/helm@v3.18.4")
    return found


def rendered(*sets: str, version: str = VERSIONS[1], namespace: str = "load") -> list[dict[str, Any]]:
    """Return the objects of the chart with values set as `--set` sets them."""
    words = [word for each in sets for word in ("--set", each)]
    command = [helm(), "template", "lp", str(CHART), "-n", namespace, "--kube-version", version, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]
