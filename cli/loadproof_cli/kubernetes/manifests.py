"""The objects of one run's agents, as pure data: an Indexed Job, and the Secret with its join token.

The Secret belongs to the Job, and the Job has a deadline: should this command be killed, the cluster removes both.
"""

from __future__ import annotations

from typing import Any

from loadproof_agent.errors import EXIT_USAGE
from loadproof_cli.kubernetes.options import ClusterOptions, Spread

JOB_LABEL = "job"
"""The agents' label by which a run finds those made for it."""
CONTAINER = "agent"
TOKEN_FOLDER = "/var/run/loadproof"  # noqa: S105  # a folder's name
TOKEN_KEY = "join"  # noqa: S105  # a file's name
USER_ID = 10_001
AFTER_END_S = 300
LEAVE_S = 30
TOPOLOGY = {Spread.NODE: "kubernetes.io/hostname", Spread.ZONE: "topology.kubernetes.io/zone"}
MANAGED_BY = "loadproof"


def job_name(run_id: str) -> str:
    """Return a name that is short enough for its pods' names to be agents' names."""
    return f"loadproof-{run_id[:15]}-{run_id[-4:]}".lower()


def labels_of(name: str, run_id: str) -> dict[str, str]:
    """Return the labels of everything made for a run."""
    return {
        "app.kubernetes.io/name": "loadproof",
        "app.kubernetes.io/component": "agent",
        "app.kubernetes.io/managed-by": MANAGED_BY,
        "loadproof.dev/job": name,
        "loadproof.dev/run": run_id[:63],
    }


def secret_manifest(name: str, run_id: str, token: str, job_uid: str) -> dict[str, Any]:
    """Return the Secret with the join token; the Job owns it."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels_of(name, run_id), "ownerReferences": [owner]},
        "type": "Opaque",
        "immutable": True,
        "stringData": {TOKEN_KEY: token},
    }


def job_manifest(name: str, run_id: str, agents: int, options: ClusterOptions, deadline_s: int) -> dict[str, Any]:
    """Return the Job: one index for each agent.

    A pod that is evicted, pre-empted or drained is replaced without counting as a failure; one that ends with the code
    for wrong usage would do so again and fails the Job; every other end is tried again within the limit.
    """
    labels = labels_of(name, run_id)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": agents,
            "parallelism": agents,
            "backoffLimit": max(6, 2 * agents),
            "activeDeadlineSeconds": deadline_s,
            "ttlSecondsAfterFinished": AFTER_END_S,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_USAGE]},
                    },
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": _pod(name, options)},
        },
    }


def _pod(name: str, options: ClusterOptions) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": LEAVE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [_spread(name, options.spread)],
        "containers": [_container(name, options)],
        "volumes": [
            {
                "name": "token",
                "secret": {"secretName": name, "defaultMode": 0o440, "items": [{"key": TOKEN_KEY, "path": TOKEN_KEY}]},
            },
            {"name": "scratch", "emptyDir": {}},
        ],
    }
    if options.node_selector:
        pod["nodeSelector"] = dict(options.node_selector)
    return pod


def _spread(name: str, wanted: Spread | None) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": TOPOLOGY[wanted or Spread.NODE],
        "whenUnsatisfiable": "DoNotSchedule" if wanted else "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"loadproof.dev/job": name}},
    }


def _container(name: str, options: ClusterOptions) -> dict[str, Any]:
    resources = {"cpu": options.cpu_request, "memory": options.memory_request}
    return {
        "name": CONTAINER,
        "image": options.image,
        "args": [
            "agent",
            options.dial,
            "--job",
            "--join-file",
            f"{TOKEN_FOLDER}/{TOKEN_KEY}",
            "--name",
            "$(POD_NAME)",
            "--workers",
            str(options.workers),
            "--label",
            f"{JOB_LABEL}={name}",
            "--label",
            "node=$(NODE_NAME)",
            *(["--allow-requirements"] if options.allow_requirements else []),
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108  # a volume of the pod's own
        ],
    }
