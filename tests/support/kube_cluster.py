"""A namespace of a real control plane, with the rights that the documentation gives, a quota, and a node for its pods.

It has the same doors as the stand-in of `kube_stand_in`, so that the same tests are put to both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kube_api import Api
from kube_node import Node
from kube_server import Server
from service_mode import until
from tree import ROOT

ROLE = ROOT / "deploy" / "kubernetes" / "runner-role.yaml"
ACCOUNT = "ci"
QUOTA = "small"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class RealCluster:
    """One namespace. `denied` holds (verb, resource) left out of the Role; `quota` is how many pods it allows."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        *,
        images: frozenset[str] = frozenset({"loadproof:test"}),
        denied: frozenset[tuple[str, str]] = frozenset(),
        quota: int | None = None,
    ) -> None:
        self.folder = folder
        self.name = server.new_namespace()
        self._server = server
        self._core = f"/api/v1/namespaces/{self.name}"
        for account in (ACCOUNT, "default"):  # the latter is made by another controller, and pods need it
            server.make_account(self.name, account)
        rules = self._allow(denied)
        self.token = self._new_token()
        until(lambda: self._has(rules[0]))  # the server notices a new Role a moment later
        self.kubelet = Node(server.admin, self.name, folder, images)
        if quota is not None:
            self._limit(quota)

    def api(self, token: str | None) -> Api:
        """Return the API as somebody with that token sees it."""
        return Api(self._server.address, token, self._server.authority)

    def kubeconfig(self) -> dict[str, str]:
        """Return the environment of the account that runs are made with."""
        path = self.folder / "kubeconfig"
        place = {"server": self._server.address, "certificate-authority": self._server.authority}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": place}], "users": [{"name": "u", "user": {"token": self.token}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": self.name}}],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return {"KUBECONFIG": str(path)}

    def left(self) -> dict[str, list[str]]:
        """Return the names of what is still there, events apart."""
        paths = {
            "jobs": f"/apis/batch/v1/namespaces/{self.name}/jobs", "secrets": f"{self._core}/secrets",
            "pods": f"{self._core}/pods",
        }  # fmt: skip
        names = {kind: [i["metadata"]["name"] for i in self._list(path)] for kind, path in paths.items()}
        return {kind: sorted(found) for kind, found in names.items() if found}

    def wait_until(self, true: Any, limit_s: float = 180.0) -> None:
        """Wait until `true(self)`."""
        until(lambda: bool(true(self)), lambda: str(self.left()), limit_s)

    def running(self) -> list[str]:
        """Return the names of running pods."""
        pods = self._list(f"{self._core}/pods")
        return sorted(p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running")

    def evict(self, name: str) -> None:
        """Evict a pod, as a node that is drained does."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": self.name}}
        self._server.admin.do("POST", f"{self._core}/pods/{name}/eviction", body)

    def _list(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._server.admin.do("GET", path)["items"]
        return found

    def _make(self, path: str, version: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}
        return self._server.admin.do("POST", f"{path}?fieldValidation=Strict", body)

    def _allow(self, denied: frozenset[tuple[str, str]]) -> list[dict[str, Any]]:
        """Give the account the rights of the Role that we publish, but for those denied; return its rules."""
        role = yaml.safe_load(ROLE.read_text(encoding="utf-8"))
        for rule in role["rules"]:
            (resource,) = rule["resources"]
            rule["verbs"] = [verb for verb in rule["verbs"] if (verb, resource) not in denied]
        role["rules"] = [rule for rule in role["rules"] if rule["verbs"]]
        path = f"{RBAC}/namespaces/{self.name}"
        name = role["metadata"]["name"]
        self._server.admin.do("POST", f"{path}/roles?fieldValidation=Strict", role)
        to = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        who = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.name}]
        bound = {"roleRef": to, "subjects": who}
        self._make(f"{path}/rolebindings", "rbac.authorization.k8s.io/v1", "RoleBinding", name, **bound)
        rules: list[dict[str, Any]] = role["rules"]
        return rules

    def _has(self, rule: dict[str, Any]) -> bool:
        """Return whether the account has the first right of a rule."""
        wanted = {
            "namespace": self.name, "group": rule["apiGroups"][0], "resource": rule["resources"][0],
            "verb": rule["verbs"][0],
        }  # fmt: skip
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        review = {**kind, "spec": {"resourceAttributes": wanted}}
        answer = self.api(self.token).do("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def _new_token(self) -> str:
        path = f"{self._core}/serviceaccounts/{ACCOUNT}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        return str(self._server.admin.do("POST", path, body)["status"]["token"])

    def _limit(self, pods: int) -> None:
        """Set a quota and wait until it is counted: till then the server lets no pod in at all."""
        path = f"{self._core}/resourcequotas"
        self._make(path, "v1", "ResourceQuota", QUOTA, spec={"hard": {"pods": str(pods)}})
        admin = self._server.admin
        until(lambda: admin.do("GET", f"{path}/{QUOTA}").get("status", {}).get("used", {}).get("pods") == "0")


@contextmanager
def real_cluster(server: Server, folder: Path, **options: Any) -> Iterator[RealCluster]:
    """Give a new namespace; its processes end with it."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = RealCluster(server, folder, **options)
    cluster.kubelet.start()
    try:
        yield cluster
    finally:
        cluster.kubelet.close()
