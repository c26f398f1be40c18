"""What the chart renders, put to a real kube-apiserver where there is one."""

from __future__ import annotations

import pytest

from helm_chart import VARIANTS, rendered
from kube_server import real_server

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("load")]

PLURALS = {
    "Deployment": "deployments", "Ingress": "ingresses", "NetworkPolicy": "networkpolicies",
    "PodDisruptionBudget": "poddisruptionbudgets", "Role": "roles", "RoleBinding": "rolebindings",
    "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts", "StatefulSet": "statefulsets",
}  # fmt: skip
ASKED = "fieldValidation=Strict&dryRun=All"


def test_a_real_server_takes_the_chart(tmp_path) -> None:
    """Every object is accepted, asked strictly, and every pod in a namespace of the level `restricted`."""
    with real_server(tmp_path) as server:
        namespace = server.new_namespace()
        server.make_account(namespace, "default")
        kinds = set()
        for sets in VARIANTS:
            for each in rendered(*sets, namespace=namespace):
                group = "apis" if "/" in each["apiVersion"] else "api"
                path = f"/{group}/{each['apiVersion']}/namespaces/{namespace}/{PLURALS[each['kind']]}?{ASKED}"
                server.admin.do("POST", path, each)
                kinds.add(each["kind"])
                template = each.get("spec", {}).get("template")
                if template is not None:
                    name = {"name": "pod", "labels": template["metadata"]["labels"]}
                    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": name, "spec": template["spec"]}
                    pod["spec"].pop("serviceAccountName", None)  # made by the same chart, so not there yet
                    for claim in each["spec"].get("volumeClaimTemplates", ()):
                        pod["spec"]["volumes"].append({"name": claim["metadata"]["name"], "emptyDir": {}})
                    server.admin.do("POST", f"/api/v1/namespaces/{namespace}/pods?{ASKED}", pod)
        assert kinds == PLURALS.keys()
