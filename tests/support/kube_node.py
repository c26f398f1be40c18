"""What a real control plane lacks: a scheduler and a kubelet. Each pod becomes a real agent process of this machine."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

from kube_api import Api
from kube_kubelet import secret_of, start_process

TICK_S = 0.2
NODES = 3


class Node:
    """Runs the pods of a namespace whose image is in `images`; the others wait as if it could not be pulled."""

    def __init__(self, admin: Api, namespace: str, folder: Path, images: frozenset[str]) -> None:
        self._admin = admin
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._folder = folder
        self._images = images
        self._leaving: dict[str, threading.Event] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._looker = threading.Thread(target=self._look, name="node")

    def start(self) -> None:
        """Begin to look for pods."""
        self._looker.start()

    def alive(self) -> int:
        """Return how many processes live."""
        return sum(process.poll() is None for process in self._processes)

    def close(self) -> None:
        """End everything."""
        self._closed.set()
        self._looker.join()
        for leaving in self._leaving.values():
            leaving.set()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        while not self._closed.wait(TICK_S):
            found = {pod["metadata"]["uid"]: pod for pod in self._admin.do("GET", self._pods)["items"]}
            for uid, pod in found.items():
                if uid not in self._leaving:
                    self._leaving[uid] = threading.Event()
                    thread = threading.Thread(target=self._live, args=(pod, self._leaving[uid]))
                    self._threads.append(thread)
                    thread.start()
            for uid, leaving in self._leaving.items():
                if uid not in found or "deletionTimestamp" in found[uid]["metadata"]:
                    leaving.set()

    def _live(self, pod: dict[str, Any], leaving: threading.Event) -> None:
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        index = int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])
        pod["spec"]["nodeName"] = f"node-{index % NODES}"
        target = {"apiVersion": "v1", "kind": "Node", "name": pod["spec"]["nodeName"]}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        if self._admin.call("POST", f"{self._pods}/{name}/binding", binding)[0] != 201:
            return  # it went before it could be scheduled
        if container["image"] not in self._images:
            message = f'Back-off pulling image "{container["image"]}": not found'
            self._report(pod, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": message}})
            leaving.wait()
        else:
            self._report(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
            secret = self._wait_for_secret(pod, leaving)
            if secret is not None:
                self._run(pod, secret, leaving)
        if leaving.is_set() and not self._closed.is_set():
            certain = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
            self._admin.call("DELETE", f"{self._pods}/{name}", certain)

    def _wait_for_secret(self, pod: dict[str, Any], leaving: threading.Event) -> dict[str, Any] | None:
        while not leaving.wait(TICK_S):
            status, secret = self._admin.call("GET", f"{self._secrets}/{secret_of(pod)}")
            if status == 200:
                return secret
        return None

    def _run(self, pod: dict[str, Any], secret: dict[str, Any], leaving: threading.Event) -> None:
        process = start_process(pod, secret, self._folder)
        self._processes.append(process)
        self._report(pod, "Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
        while process.poll() is None and not leaving.wait(TICK_S):
            pass
        if process.poll() is None:
            process.terminate()
        try:
            code = process.wait(pod["spec"]["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        ended = {"exitCode": code if code >= 0 else 128 - code}
        if not self._closed.is_set():
            self._report(pod, "Failed" if code else "Succeeded", {"terminated": ended})

    def _report(self, pod: dict[str, Any], phase: str, state: dict[str, Any]) -> None:
        container = pod["spec"]["containers"][0]
        told = {
            "name": container["name"], "image": container["image"], "imageID": "", "ready": phase == "Running",
            "restartCount": 0, "state": state,
        }  # fmt: skip
        status = {"status": {"phase": phase, "containerStatuses": [told]}}
        self._admin.call("PATCH", f"{self._pods}/{pod['metadata']['name']}/status", status)
