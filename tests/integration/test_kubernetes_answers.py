"""What an API server answers to good and bad requests: statuses, reasons and words, the same of stand-in and real one.

Every test is put to the stand-in, and to a real kube-apiserver where $LOADPROOF_KUBE_APISERVER names one, built by
tests/support/kube_apiserver/build.sh. The cases of `REFUSED` are also put to the decoder and validation of Kubernetes
alone where $LOADPROOF_KUBE_VALIDATOR names them, built by tests/support/kube_validator/build.sh.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kube_cluster import RealCluster, real_cluster
from kube_server import PLACES, Server, real_server
from kube_stand_in import StandIn, stand_in
from loadproof_cli.kubernetes.cluster import Cluster, RefusedByCluster
from loadproof_cli.kubernetes.manifests import job_manifest, secret_manifest
from loadproof_cli.kubernetes.options import ClusterOptions, Spread
from service_mode import until

pytest.importorskip("kubernetes")
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("load")]

OPTIONS = ClusterOptions(image="no/such:image", dial="127.0.0.1:1")
RUN_ID = "20261123-150405-short-3f9a"
STRICT = "fieldValidation=Strict"
VALIDATOR = "LOADPROOF_KUBE_VALIDATOR"


class Place:
    """The namespace of a cluster, and its users."""

    def __init__(self, cluster: StandIn | RealCluster) -> None:
        self.cluster = cluster
        self.name = cluster.name
        self.core = f"/api/v1/namespaces/{self.name}"
        self.jobs = f"/apis/batch/v1/namespaces/{self.name}/jobs"
        self.runner = cluster.api(cluster.token)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with real_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(params=PLACES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Make a namespace whose pods find no image, with what is denied and how many pods are allowed."""
    if request.param == "stand-in":
        place: Callable[..., Any] = stand_in
    else:
        place = partial(real_cluster, request.getfixturevalue("server"))
    with ExitStack() as stack:
        yield lambda **options: Place(stack.enter_context(place(tmp_path, images=frozenset(), **options)))


def job(name: str = "answers", agents: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a run's Job, with changes to its spec."""
    made = job_manifest(name, RUN_ID, agents, OPTIONS, 600)
    made["spec"] |= changes
    return made


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return a run's Job with one value changed."""
    made: dict[str, Any] = json.loads(json.dumps(job()))
    inner: Any = made
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return made


CONTAINER = ("spec", "template", "spec", "containers", 0)
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown field": (changed(("spec", "agents"), 2), 400, "BadRequest"),
    "an unknown field of a container": (changed((*CONTAINER, "imagePolicy"), "Never"), 400, "BadRequest"),
    "a number that is text": (changed(("spec", "completions"), "two"), 400, "BadRequest"),
    "another kind": (changed(("kind",), "Pod"), 400, "BadRequest"),
    "another version": (changed(("apiVersion",), "batch/v1beta1"), 400, "BadRequest"),
    "a name that is none": (changed(("metadata", "name"), "Not_A_Name"), 422, "Invalid"),
    "a label that is none": (changed(("metadata", "labels", "loadproof.dev/run"), "a b"), 422, "Invalid"),
    "pods that restart": (changed(("spec", "template", "spec", "restartPolicy"), "OnFailure"), 422, "Invalid"),
    "a container without name": (changed((*CONTAINER, "name"), ""), 422, "Invalid"),
    "a container without image": (changed((*CONTAINER, "image"), ""), 422, "Invalid"),
    "a size that is none": (changed((*CONTAINER, "resources", "limits", "memory"), "lots"), 400, "BadRequest"),
    "less allowed than asked for": (changed((*CONTAINER, "resources", "limits", "memory"), "1Mi"), 422, "Invalid"),
    "negative agents": (changed(("spec", "completions"), -1), 422, "Invalid"),
    "a policy for a container that is not there": (
        changed(("spec", "podFailurePolicy", "rules", 1, "onExitCodes", "containerName"), "other"), 422, "Invalid",
    ),
    "an unknown way to spread": (
        changed(("spec", "template", "spec", "topologySpreadConstraints", 0, "whenUnsatisfiable"), "Never"), 422,
        "Invalid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_server_takes_is_refused(make: Callable[..., Place], case: str) -> None:
    """Status and reason for objects that are wrong, asked strictly, and nothing is kept of them."""
    body, status, reason = REFUSED[case]
    place = make()
    code, answer = place.runner.call("POST", f"{place.jobs}?{STRICT}", body)
    assert (code, answer["reason"], answer["kind"], answer["code"]) == (status, reason, "Status", status), answer
    assert place.cluster.left() == {}


def test_kubernetes_itself_says_the_same() -> None:
    """Its own code refuses each case with that status and reason, and takes a run's Job however it is asked for."""
    validator = os.environ.get(VALIDATOR)
    if not validator:
        pytest.skip(f"${VALIDATOR} is not set; tests/support/kube_validator/build.sh builds one")
    asked = [{"name": name, "body": body} for name, (body, _status, _reason) in REFUSED.items()]
    for spread in (None, *Spread):
        options = replace(OPTIONS, spread=spread, node_selector=(("pool", "load"),), workers=3)
        asked.append({"name": "a run's", "body": job_manifest("answers", RUN_ID, 50, options, 4_000)})
    lines = "".join(json.dumps(each) + "\n" for each in asked)
    done = subprocess.run([validator], input=lines, capture_output=True, text=True, check=True, timeout=60)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked)
    for answer in answers:
        _body, status, reason = REFUSED.get(answer["name"], ({}, 201, ""))
        assert (answer["code"], answer["reason"]) == (status, reason), answer


def test_a_taken_name_and_a_missing_one(make: Callable[..., Place]) -> None:
    """409 and 404 in the server's words, for a resource of a group and one of none; deleting tells what went."""
    place = make()
    runner = place.runner
    code, kept = runner.call("POST", f"{place.jobs}?{STRICT}", job())
    assert code == 201
    secret = secret_manifest("answers", RUN_ID, "token", kept["metadata"]["uid"])
    assert runner.call("POST", f"{place.core}/secrets?{STRICT}", secret)[0] == 201
    for path, body, what in ((f"{place.core}/secrets", secret, "secrets"), (place.jobs, job(), "jobs.batch")):
        code, answer = runner.call("POST", path, body)
        assert (code, answer["reason"]) == (409, "AlreadyExists")
        assert answer["message"] == f'{what} "answers" already exists'
        code, answer = runner.call("DELETE", f"{path}/answers?propagationPolicy=Background")
        assert (code, answer["status"]) == (200, "Success")
        code, answer = runner.call("DELETE", f"{path}/other")
        assert (code, answer["reason"]) == (404, "NotFound")
        assert answer["message"] == f'{what} "other" not found'
    until(lambda: place.cluster.left() == {})


def test_strangers_are_told_from_nobody(make: Callable[..., Place]) -> None:
    """A token nobody knows is 401; no token is somebody anonymous without rights, 403."""
    place = make()
    code, answer = place.cluster.api("nobody").call("GET", f"{place.core}/pods")
    assert (code, answer["reason"], answer["message"]) == (401, "Unauthorized", "Unauthorized")
    code, answer = place.cluster.api(None).call("GET", f"{place.core}/pods")
    assert (code, answer["reason"]) == (403, "Forbidden")
    assert 'User "system:anonymous" cannot list resource "pods"' in answer["message"]


@pytest.mark.parametrize(
    ("verb", "resource", "method", "path"),
    [
        ("create", "jobs", "POST", "/apis/batch/v1/namespaces/{}/jobs"),
        ("delete", "jobs", "DELETE", "/apis/batch/v1/namespaces/{}/jobs/any"),
        ("create", "secrets", "POST", "/api/v1/namespaces/{}/secrets"),
        ("list", "pods", "GET", "/api/v1/namespaces/{}/pods"),
        ("watch", "pods", "GET", "/api/v1/namespaces/{}/pods?watch=true&timeoutSeconds=1"),
        ("list", "events", "GET", "/api/v1/namespaces/{}/events"),
    ],
)
def test_a_missing_right_is_named(make: Callable[..., Place], verb: str, resource: str, method: str, path: str) -> None:
    """403 names user, verb, resource, group and namespace; the review of rights says the same."""
    place = make(denied=frozenset({(verb, resource)}))
    runner = place.runner
    code, answer = runner.call(method, path.format(place.name), {} if method == "POST" else None)
    assert (code, answer["reason"]) == (403, "Forbidden"), answer
    group = "batch" if resource == "jobs" else ""
    words = f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{place.name}"'
    assert words in answer["message"]
    cluster = Cluster(place.cluster.kubeconfig(), "", "")
    assert cluster.missing_rights() == [f"{verb} {resource}.{group}" if group else f"{verb} {resource}"]


def test_a_quota_lets_so_many_pods_in(make: Callable[..., Place]) -> None:
    """The Job is taken; the pod over the quota becomes an event of the Job in the words of the quota."""
    place = make(quota=1)
    place.runner.do("POST", place.jobs, job(agents=2))
    cluster = Cluster(place.cluster.kubeconfig(), "", "")
    until(lambda: any(each["reason"] == "FailedCreate" for each in cluster.events_of("answers")))
    until(lambda: len(place.cluster.left().get("pods", ())) == 1)
    event = next(each for each in cluster.events_of("answers") if each["reason"] == "FailedCreate")
    assert event["type"] == "Warning"
    assert event["involvedObject"]["kind"] == "Job"
    assert "is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1" in event["message"]


def test_a_watch_from_a_version_that_is_forgotten(make: Callable[..., Place]) -> None:
    """It begins with an error event that says 410 Expired; our client then reads the list anew."""
    place = make()
    runner = place.runner
    runner.do("POST", place.jobs, job())
    until(lambda: len(place.cluster.left().get("pods", ())) == 1)
    code, event = runner.call("GET", f"{place.core}/pods?watch=true&resourceVersion=1&timeoutSeconds=1")
    assert (code, event["type"]) == (200, "ERROR")
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")
    pods: dict[str, Any] = {}
    shown: list[Any] = []
    cluster = Cluster(place.cluster.kubeconfig(), "", "")
    version = cluster.watch_pods("loadproof.dev/job=answers", pods, "1", shown.append)
    assert list(pods.values()) == shown
    assert len(pods) == 1
    assert int(version) > 1


def test_pods_come_from_the_template_and_go_with_the_job(make: Callable[..., Place]) -> None:
    """Labels, owner and index of pods; pods and Secret go with the Job; a strange selector finds none."""
    place = make()
    runner = place.runner
    uid = runner.do("POST", place.jobs, job(agents=2))["metadata"]["uid"]
    runner.do("POST", f"{place.core}/secrets", secret_manifest("answers", RUN_ID, "token", uid))
    until(lambda: len(place.cluster.left().get("pods", ())) == 2)
    found = runner.do("GET", f"{place.core}/pods?labelSelector=loadproof.dev/job%3Danswers")
    assert found["kind"] == "PodList"
    assert int(found["metadata"]["resourceVersion"]) > 1
    indexes = set()
    for pod in found["items"]:
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Job", uid, True)
        index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
        indexes.add(index)
        assert pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "answers"
        assert pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == index
        assert "JOB_COMPLETION_INDEX" in [each["name"] for each in pod["spec"]["containers"][0]["env"]]
        assert pod["metadata"]["name"].startswith(f"answers-{index}-")
        assert len(pod["metadata"]["name"]) == len(f"answers-{index}-abcde")
    assert indexes == {"0", "1"}
    assert runner.do("GET", f"{place.core}/pods?labelSelector=loadproof.dev/job%3Dother")["items"] == []
    runner.do("DELETE", f"{place.jobs}/answers?propagationPolicy=Background")
    until(lambda: place.cluster.left() == {})


def test_refusals_carry_their_status(make: Callable[..., Place]) -> None:
    """Our client makes of a refusal an error with status and the server's own words."""
    place = make()
    cluster = Cluster(place.cluster.kubeconfig(), "", "")
    cluster.create_job(job())
    with pytest.raises(RefusedByCluster, match=r'jobs\.batch "answers" already exists') as refused:
        cluster.create_job(job())
    assert refused.value.status == 409
    cluster.delete_job("answers")
    cluster.delete_job("answers")
    until(lambda: place.cluster.left() == {})
