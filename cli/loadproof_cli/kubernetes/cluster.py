"""The API server of a cluster: the calls we need, its refusals as errors of ours that name the object and the right."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from loadproof_cli.errors import InfrastructureProblem, UsageProblem

CALL_LIMIT_S = 30
LOOK_S = 1
EXTRA = "pip install 'loadproof[kubernetes]'"
CONFLICT, FORBIDDEN, GONE, MISSING = 409, 403, 410, 404

RIGHTS: tuple[tuple[str, str, str], ...] = (
    ("batch", "jobs", "create"),
    ("batch", "jobs", "delete"),
    ("", "secrets", "create"),
    ("", "secrets", "delete"),
    ("", "pods", "list"),
    ("", "pods", "watch"),
    ("", "events", "list"),
)
"""API group, resource and verb of everything done here: the Role in deploy/kubernetes/ grants just these."""


class RefusedByCluster(InfrastructureProblem):
    """The API server said no. `status` is its HTTP status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Cluster:
    """One namespace of one cluster, as the kubeconfig (or, in a pod, the service account) lets us in.

    Raises UsageProblem when there is no configuration to use. Every call raises InfrastructureProblem.
    """

    def __init__(self, environ: Mapping[str, str], namespace: str, context: str) -> None:
        try:
            import kubernetes
        except ImportError as error:
            raise UsageProblem(f"--on kubernetes needs Kubernetes' client: {EXTRA}.") from error
        self._library: Any = kubernetes
        api, found = _connect(kubernetes, environ, context)
        self.namespace = namespace or found
        self.server = str(api.configuration.host)
        self._core = kubernetes.client.CoreV1Api(api)
        self._batch = kubernetes.client.BatchV1Api(api)
        self._access = kubernetes.client.AuthorizationV1Api(api)
        self._api = api

    def missing_rights(self) -> list[str]:
        """Return what this account may not do of what is needed, as `verb resource`."""
        missing = []
        for group, resource, verb in RIGHTS:
            attributes = {"namespace": self.namespace, "group": group, "resource": resource, "verb": verb}
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            answer = self._call("ask for rights", self._access.create_self_subject_access_review, review)
            if not answer.status.allowed:
                missing.append(f"{verb} {resource}.{group}" if group else f"{verb} {resource}")
        return missing

    def create_job(self, manifest: dict[str, Any]) -> str:
        """Create a Job; return its uid."""
        what = f"create the job {manifest['metadata']['name']}"
        return str(self._call(what, self._batch.create_namespaced_job, self.namespace, manifest).metadata.uid)

    def create_secret(self, manifest: dict[str, Any]) -> None:
        """Create a Secret."""
        what = f"create the secret {manifest['metadata']['name']}"
        self._call(what, self._core.create_namespaced_secret, self.namespace, manifest)

    def delete_job(self, name: str) -> None:
        """Delete a Job, and its pods after it; nothing happens when there is none."""
        with self._absent_is_fine():
            self._call(
                f"delete the job {name}",
                self._batch.delete_namespaced_job,
                name,
                self.namespace,
                propagation_policy="Background",
            )

    def delete_secret(self, name: str) -> None:
        """Delete a Secret; nothing happens when there is none."""
        with self._absent_is_fine():
            self._call(f"delete the secret {name}", self._core.delete_namespaced_secret, name, self.namespace)

    def pods(self, selector: str) -> tuple[dict[str, dict[str, Any]], str]:
        """Return the pods by name, as the API spells them, and the version to watch from."""
        found = self._call("list pods", self._core.list_namespaced_pod, self.namespace, label_selector=selector)
        return {pod.metadata.name: self._plain(pod) for pod in found.items}, str(found.metadata.resource_version)

    def watch_pods(
        self, selector: str, pods: dict[str, dict[str, Any]], version: str, seen: Callable[[dict[str, Any]], None]
    ) -> str:
        """Follow changes for a second, bring `pods` up to date, and return the version to go on from.

        Each pod that changed is shown to `seen`, one that is deleted as it last was. The server forgets old versions
        (410): then the list is read anew.
        """
        watch = self._library.watch.Watch()
        try:
            for event in self._call(
                "watch pods",
                lambda: list(
                    watch.stream(
                        self._core.list_namespaced_pod,
                        self.namespace,
                        label_selector=selector,
                        resource_version=version,
                        timeout_seconds=LOOK_S,
                        _request_timeout=CALL_LIMIT_S,
                    )
                ),
                bounded=False,
            ):
                pod = event["raw_object"]
                seen(pod)
                if event["type"] == "DELETED":
                    pods.pop(pod["metadata"]["name"], None)
                else:
                    pods[pod["metadata"]["name"]] = pod
        except RefusedByCluster as error:
            if error.status != GONE:
                raise
            fresh, version = self.pods(selector)
            pods.clear()
            pods.update(fresh)
            for pod in fresh.values():
                seen(pod)
            return version
        return str(watch.resource_version or version)

    def events_of(self, name: str) -> list[dict[str, Any]]:
        """Return what the cluster noted about the object of that name."""
        selector = f"involvedObject.name={name}"
        found = self._call("list events", self._core.list_namespaced_event, self.namespace, field_selector=selector)
        return [self._plain(event) for event in found.items]

    def _plain(self, item: Any) -> dict[str, Any]:
        plain: dict[str, Any] = self._api.sanitize_for_serialization(item)
        return plain

    def _call(self, what: str, call: Callable[..., Any], *arguments: Any, bounded: bool = True, **named: Any) -> Any:
        from urllib3.exceptions import HTTPError

        if bounded:
            named["_request_timeout"] = CALL_LIMIT_S
        try:
            return call(*arguments, **named)
        except self._library.client.exceptions.ApiException as error:
            raise RefusedByCluster(self._words(what, error), int(error.status or 0)) from error
        except HTTPError as error:
            reason = " ".join(str(getattr(error, "reason", None) or error).split())[:300]
            raise InfrastructureProblem(
                f"the cluster's API server {self.server} cannot be reached to {what}: {reason}."
            ) from error

    def _words(self, what: str, error: Any) -> str:
        text = str(error.reason or "")
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            text = str(json.loads(error.body).get("message") or text)
        text = " ".join(text.split())[:1_000].rstrip(".")
        if error.status == FORBIDDEN:
            return f"namespace {self.namespace}: the cluster does not let this account {what}: {text}."
        return f"namespace {self.namespace}: the cluster refused to {what} ({error.status}): {text}."

    @contextlib.contextmanager
    def _absent_is_fine(self) -> Iterator[None]:
        try:
            yield
        except RefusedByCluster as error:
            if error.status != MISSING:
                raise


def _connect(library: Any, environ: Mapping[str, str], context: str) -> tuple[Any, str]:
    """Return the client and the namespace that the kubeconfig names. Raises UsageProblem."""
    given = environ.get("KUBECONFIG")
    home = Path(environ.get("HOME") or Path.home()) / ".kube" / "config"
    try:
        if given or home.is_file():
            file = given or str(home)
            contexts, active = library.config.list_kube_config_contexts(config_file=file)
            chosen = next((each for each in contexts if each["name"] == context), None) if context else active
            if chosen is None:
                names = ", ".join(str(each["name"]) for each in contexts)
                raise UsageProblem(f"--kube-context {context}: the kubeconfig has {names}.")
            api = library.config.new_client_from_config(config_file=file, context=context or None)
            return api, str(chosen["context"].get("namespace") or "default")
        configuration = library.client.Configuration()
        library.config.load_incluster_config(client_configuration=configuration)
        spot = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        return library.client.ApiClient(configuration), spot.read_text(encoding="utf-8").strip()
    except (library.config.ConfigException, OSError, TypeError, KeyError) as error:
        raise UsageProblem(
            f"no way into a cluster: {' '.join(str(error).split())[:300].rstrip('.')}.",
            hint="KUBECONFIG or ~/.kube/config says where it is; kubectl cluster-info tells whether it works.",
        ) from error
