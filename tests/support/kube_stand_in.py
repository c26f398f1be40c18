"""A strict stand-in for a cluster: the part of the API server that runs use, a job controller, and a kubelet.

Objects are validated against the published schemas (unknown fields refused) and answered as the real server does: 400,
401, 403 with its words, 404, 409, 422, a watch that expires with 410, the eviction subresource. Each pod whose image is
known becomes a real `loadproof` process of this machine.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from kube_api import Api
from kube_kubelet import Kubelet
from kube_rules import Refusal, strictly_valid

NAMESPACE, ACCOUNT, TOKEN = "load", "system:serviceaccount:load:runner", "stand-in-token"
ANONYMOUS = "system:anonymous"
GROUPS = {"jobs": "batch", "secrets": "", "pods": "", "events": ""}
INDEX = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}  # fmt: skip # noqa: E501
KINDS = {"jobs": "Job", "secrets": "Secret", "pods": "Pod", "events": "Event"}


class StandIn:
    """A cluster of one namespace. `denied` holds (verb, resource); `quota` is how many pods it allows."""

    def __init__(
        self,
        folder: Path,
        *,
        images: frozenset[str] = frozenset({"loadproof:test"}),
        denied: frozenset[tuple[str, str]] = frozenset(),
        reviews: bool = True,
        quota: int | None = None,
    ) -> None:
        self.folder = folder
        self.name, self.token = NAMESPACE, TOKEN
        self.denied = denied
        self.reviews = reviews
        self.quota = quota
        self.changed = threading.Condition(threading.RLock())
        self.store: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.created: list[dict[str, Any]] = []
        self.watches_to_expire = 0
        self.watches_expired = 0
        self._version = 100
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self.kubelet = Kubelet(self, folder, images)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"cluster": self}))
        self.server.daemon_threads = True

    # --- what tests ask and do ----------------------------------------------------------------------------------------

    def api(self, token: str | None) -> Api:
        """Return the API as somebody with that token sees it."""
        return Api(f"http://127.0.0.1:{self.server.server_port}", token)

    def kubeconfig(self) -> dict[str, str]:
        """Return the environment of somebody with access."""
        path = self.folder / "kubeconfig"
        port = self.server.server_port
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return {"KUBECONFIG": str(path)}

    def left(self) -> dict[str, list[str]]:
        """Return the names of what is still there, events apart."""
        with self.changed:
            return {kind: sorted(names) for kind, names in self.store.items() if names and kind != "events"}

    def wait_until(self, true: Any, limit_s: float = 180.0) -> None:
        """Wait until `true(self)`."""
        with self.changed:
            assert self.changed.wait_for(lambda: true(self), limit_s), self.left()

    def running(self) -> list[str]:
        """Return the names of running pods."""
        with self.changed:
            return sorted(n for n, pod in self.store["pods"].items() if pod["status"].get("phase") == "Running")

    def compact(self) -> None:
        """Forget all past versions, as etcd does."""
        with self.changed:
            self._history.clear()

    # --- the API ------------------------------------------------------------------------------------------------------

    def allow(self, verb: str, resource: str, namespace: str, user: str) -> None:
        """Raise the refusal of an account without that right."""
        if user != ACCOUNT or (verb, resource) in self.denied:
            raise Refusal(403, "Forbidden", f'{_plural(resource)} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{GROUPS[resource]}" in the namespace "{namespace}"')  # fmt: skip # noqa: E501

    def create(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """Keep a valid new object."""
        strictly_valid(body, KINDS[kind])
        name = body["metadata"]["name"]
        with self.changed:
            if name in self.store[kind]:
                raise Refusal(409, "AlreadyExists", f'{_plural(kind)} "{name}" already exists')
            body = json.loads(json.dumps(body))
            body["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4())}
            self.created.append(body)
            self.put(kind, body, "ADDED")
            if kind == "jobs":
                for index in range(body["spec"]["completions"]):
                    self.add_pod(body, index)
            return body

    def put(self, kind: str, body: dict[str, Any], change: str) -> None:
        """Keep a new version; tell watchers."""
        with self.changed:
            self._version += 1
            body["metadata"]["resourceVersion"] = str(self._version)
            self.store[kind][body["metadata"]["name"]] = body
            if kind == "pods":
                self._history.append((self._version, change, json.loads(json.dumps(body))))
            self.changed.notify_all()

    def drop(self, kind: str, name: str) -> None:
        """Remove an object for good, and what it owns."""
        with self.changed:
            body = self.store[kind].pop(name, None)
            if body is None:
                return
            self._version += 1
            if kind == "pods":
                body["metadata"]["resourceVersion"] = str(self._version)
                self._history.append((self._version, "DELETED", json.loads(json.dumps(body))))
            for other in KINDS:
                for each in list(self.store[other].values()):
                    owners = each["metadata"].get("ownerReferences", [])
                    if any(owner["uid"] == body["metadata"]["uid"] for owner in owners):
                        if other == "pods":
                            self.kubelet.stop(each["metadata"]["name"])
                        else:
                            self.drop(other, each["metadata"]["name"])
            self.changed.notify_all()

    def evict(self, name: str) -> None:
        """Evict a pod, as a node that is drained does: it is asked to end, and nothing is left of it once it has."""
        with self.changed:
            if name not in self.store["pods"]:
                raise Refusal(404, "NotFound", f'pods "{name}" not found')
            condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}  # fmt: skip # noqa: E501
            pod = self.store["pods"][name]
            pod["status"].setdefault("conditions", []).append(condition)
            pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
            self.put("pods", pod, "MODIFIED")
        self.kubelet.stop(name, evicted=True)

    def version(self) -> str:
        """Return the newest version."""
        return str(self._version)

    def changes(self, since: int, until: float) -> Iterator[dict[str, Any]]:
        """Yield pods' changes after a version until a moment; 410 when they are not known any more."""
        with self.changed:
            oldest = self._history[0][0] if self._history else self._version + 1
            if self.watches_to_expire or (since + 1 < oldest and since < self._version):
                self.watches_to_expire = max(0, self.watches_to_expire - 1)
                self.watches_expired += 1
                gone = Refusal(410, "Expired", f"too old resource version: {since} ({self._version})")
                yield {"type": "ERROR", "object": gone.status}
                return
        while (left_s := until - time.monotonic()) > 0:
            with self.changed:
                fresh = [(version, kind, pod) for version, kind, pod in self._history if version > since]
                if not fresh:
                    self.changed.wait(left_s)
                    continue
            for version, kind, pod in fresh:
                since = version
                yield {"type": kind, "object": pod}

    # --- the job controller -------------------------------------------------------------------------------------------

    def add_pod(self, job: dict[str, Any], index: int) -> None:
        """Create the pod of one index, or note why that can't be."""
        name = f"{job['metadata']['name']}-{index}-{uuid.uuid4().hex[:5]}"
        with self.changed:
            used = len(self.store["pods"])
            if self.quota is not None and used >= self.quota:
                self._note(job, f'Error creating: pods "{name}" is forbidden: exceeded quota: small, requested: pods=1, used: pods={used}, limited: pods={self.quota}')  # fmt: skip # noqa: E501
                return
            template = json.loads(json.dumps(job["spec"]["template"]))
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"], "controller": True}  # fmt: skip # noqa: E501
            pod: dict[str, Any] = {
                "apiVersion": "v1", "kind": "Pod", "spec": {**template["spec"], "nodeName": f"node-{index % 3}"},
                "metadata": {
                    "name": name, "namespace": "load", "uid": str(uuid.uuid4()),
                    "labels": {
                        **template["metadata"]["labels"], "batch.kubernetes.io/job-name": job["metadata"]["name"],
                        "batch.kubernetes.io/job-completion-index": str(index),
                    },
                    "annotations": {"batch.kubernetes.io/job-completion-index": str(index)}, "ownerReferences": [owner],
                },
                "status": {"phase": "Pending"},
            }  # fmt: skip
            for container in pod["spec"]["containers"]:
                container["env"] = [*container.get("env", []), INDEX]
            strictly_valid(pod, "Pod")
            self.put("pods", pod, "ADDED")
        self.kubelet.start(pod)

    def pod_ended(self, pod: dict[str, Any], code: int) -> None:
        """Do what the Job's policy says about a pod that ended."""
        with self.changed:
            job = next((j for j in self.store["jobs"].values() if j["metadata"]["uid"] == pod["metadata"]["ownerReferences"][0]["uid"]), None)  # fmt: skip # noqa: E501
            if job is None or code == 0:
                return
            state = job.setdefault("status", {"failed": 0})
            for rule in job["spec"]["podFailurePolicy"]["rules"]:
                conditions = [(c["type"], c["status"]) for c in pod["status"].get("conditions", [])]
                on = rule.get("onPodConditions")
                met = (
                    any((c["type"], c["status"]) in conditions for c in on)
                    if on
                    else code in rule["onExitCodes"]["values"]
                )
                if met and rule["action"] == "FailJob":
                    state["conditions"] = [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]
                    return
                if met:
                    break
            else:
                state["failed"] += 1
                if state["failed"] > job["spec"]["backoffLimit"]:
                    return
            self.add_pod(job, int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]))

    def _note(self, job: dict[str, Any], message: str) -> None:
        involved = {"kind": "Job", "name": job["metadata"]["name"], "namespace": "load", "uid": job["metadata"]["uid"]}
        event = {
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": f"event-{uuid.uuid4().hex[:8]}", "namespace": "load", "uid": str(uuid.uuid4())},
            "involvedObject": involved, "reason": "FailedCreate", "message": message, "type": "Warning",
        }  # fmt: skip
        self.put("events", event, "ADDED")


class Handler(BaseHTTPRequestHandler):
    """The API server's side of one connection."""

    cluster: StandIn
    user = ""

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.answer(self.get)

    def do_POST(self) -> None:
        self.answer(self.post)

    def do_DELETE(self) -> None:
        self.answer(self.delete)

    def answer(self, work: Any) -> None:
        try:
            given = self.headers.get("Authorization")
            if given not in {f"Bearer {TOKEN}", None}:
                raise Refusal(401, "Unauthorized", "Unauthorized")
            self.user = ANONYMOUS if given is None else ACCOUNT
            url = urlsplit(self.path)
            work([part for part in url.path.split("/") if part], {k: v[0] for k, v in parse_qs(url.query).items()})
        except Refusal as refusal:
            self.reply(refusal.status["code"], refusal.status)

    def reply(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        return data

    def get(self, path: list[str], query: dict[str, str]) -> None:
        namespace, kind = _namespaced(path)
        watching = query.get("watch") in {"true", "True"}
        self.cluster.allow("watch" if watching else "list", kind, namespace, self.user)
        matches = _matcher(query)
        if not watching:
            with self.cluster.changed:
                items = [json.loads(json.dumps(i)) for i in self.cluster.store[kind].values() if matches(i)]
                version = self.cluster.version()
            list_kind = {"apiVersion": "v1", "kind": f"{KINDS[kind]}List", "metadata": {"resourceVersion": version}}
            self.reply(200, {**list_kind, "items": items})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        until = time.monotonic() + float(query["timeoutSeconds"])
        for change in self.cluster.changes(int(query["resourceVersion"]), until):
            if change["type"] == "ERROR" or matches(change["object"]):
                self.wfile.write(json.dumps(change).encode() + b"\n")
                self.wfile.flush()

    def post(self, path: list[str], _query: dict[str, str]) -> None:
        body = self.body()
        if path[-1] == "selfsubjectaccessreviews":
            wanted = body["spec"]["resourceAttributes"]
            allowed = not self.cluster.reviews or (wanted["verb"], wanted["resource"]) not in self.cluster.denied
            self.reply(201, {**body, "status": {"allowed": allowed}})
        elif path[-1] == "eviction":
            self.cluster.evict(path[-2])
            self.reply(201, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        else:
            namespace, kind = _namespaced(path)
            self.cluster.allow("create", kind, namespace, self.user)
            self.reply(201, self.cluster.create(kind, namespace, body))

    def delete(self, path: list[str], _query: dict[str, str]) -> None:
        self.body()
        namespace, kind = _namespaced(path[:-1])
        self.cluster.allow("delete", kind, namespace, self.user)
        if path[-1] not in self.cluster.store[kind]:
            raise Refusal(404, "NotFound", f'{_plural(kind)} "{path[-1]}" not found')
        self.cluster.drop(kind, path[-1])
        self.reply(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})


def _namespaced(path: list[str]) -> tuple[str, str]:
    try:
        at = path.index("namespaces")
        kind = path[at + 2]
        group = "/".join(path[:at])
        assert group == ("apis/batch/v1" if kind == "jobs" else "api/v1")
        assert kind in KINDS
        return path[at + 1], kind
    except (ValueError, IndexError, AssertionError) as error:
        raise Refusal(404, "NotFound", "the server could not find the requested resource") from error


def _plural(kind: str) -> str:
    """Return a resource as the server names it in its refusals."""
    return f"{kind}.{GROUPS[kind]}" if GROUPS[kind] else kind


def _matcher(query: dict[str, str]) -> Any:
    wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
    name = query.get("fieldSelector", "").removeprefix("involvedObject.name=")

    def matches(item: dict[str, Any]) -> bool:
        labels = item["metadata"].get("labels", {})
        return all(labels.get(k) == v for k, v in wanted.items()) and (
            not name or item.get("involvedObject", {}).get("name") == name
        )

    return matches


@contextmanager
def stand_in(folder: Path, **options: Any) -> Iterator[StandIn]:
    """Serve a cluster on a free port of loopback; its processes end with it."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = StandIn(folder, **options)
    thread = threading.Thread(target=cluster.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield cluster
    finally:
        cluster.server.shutdown()
        cluster.server.server_close()
        thread.join()
        cluster.kubelet.close()
