"""The stand-in cluster's kubelet: a real process for each pod, its Secret as files, ended as a kubelet ends it."""

from __future__ import annotations

import base64
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shop_cli import COMMAND, environment

if TYPE_CHECKING:
    from kube_stand_in import StandIn


class Kubelet:
    """Runs pods whose image is in `images`; the others wait as those whose image cannot be pulled."""

    def __init__(self, cluster: StandIn, folder: Path, images: frozenset[str]) -> None:
        self._cluster = cluster
        self._folder = folder
        self._images = images
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping: dict[str, bool] = {}
        self._threads: list[threading.Thread] = []
        self._closed = False

    def start(self, pod: dict[str, Any]) -> None:
        """Start a pod, in a thread of its own."""
        thread = threading.Thread(target=self._live, args=(pod["metadata"]["name"],))
        self._threads.append(thread)
        thread.start()

    def stop(self, name: str, *, evicted: bool = False) -> None:
        """End a pod with SIGTERM; the object goes, of one that was evicted once its Job has taken note."""
        with self._cluster.changed:
            self._stopping[name] = evicted
            process = self._processes.get(name)
            self._cluster.changed.notify_all()
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
        elif process is not None and not evicted:
            self._cluster.drop("pods", name)

    def log(self, name: str) -> str:
        """Return what a pod's process said."""
        return (self._folder / f"{name}.log").read_text(encoding="utf-8")

    def alive(self) -> int:
        """Return how many processes live."""
        return sum(process.poll() is None for process in self._processes.values())

    def close(self) -> None:
        """End everything."""
        with self._cluster.changed:
            self._closed = True
            self._cluster.changed.notify_all()
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _live(self, name: str) -> None:
        cluster = self._cluster
        with cluster.changed:
            pod = cluster.store["pods"].get(name)
            if pod is None:
                return
            container = pod["spec"]["containers"][0]
            if container["image"] not in self._images:
                message = f'Back-off pulling image "{container["image"]}": not found'
                self._report(pod, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": message}})
                cluster.changed.wait_for(lambda: name in self._stopping or self._closed)
                cluster.drop("pods", name)
                return
            secret = secret_of(pod)
            self._report(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
            cluster.changed.wait_for(
                lambda: secret in cluster.store["secrets"] or name in self._stopping or self._closed
            )
            if name in self._stopping or self._closed:
                cluster.drop("pods", name)
                return
            process = self._processes[name] = start_process(pod, cluster.store["secrets"][secret], self._folder)
            self._report(pod, "Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
        code = self._wait(process, name, pod["spec"]["terminationGracePeriodSeconds"])
        with cluster.changed:
            ended = {"terminated": {"exitCode": code if code >= 0 else 128 - code}}
            if name in cluster.store["pods"]:
                self._report(pod, "Failed" if code else "Succeeded", ended)
            if self._stopping.get(name) is False:
                cluster.drop("pods", name)
            elif not self._closed:
                cluster.pod_ended(pod, ended["terminated"]["exitCode"])
                if name in self._stopping:
                    cluster.drop("pods", name)

    def _wait(self, process: subprocess.Popen[bytes], name: str, grace_s: float) -> int:
        with self._cluster.changed:
            self._cluster.changed.notify_all()
        while True:
            try:
                return process.wait(0.1)
            except subprocess.TimeoutExpired:
                if name in self._stopping:
                    try:
                        return process.wait(grace_s)
                    except subprocess.TimeoutExpired:
                        process.kill()

    def _report(self, pod: dict[str, Any], phase: str, state: dict[str, Any]) -> None:
        pod["status"]["phase"] = phase
        pod["status"]["containerStatuses"] = [{
            "name": pod["spec"]["containers"][0]["name"], "image": pod["spec"]["containers"][0]["image"], "imageID": "",
            "ready": phase == "Running", "restartCount": 0, "state": state,
        }]  # fmt: skip
        self._cluster.put("pods", pod, "MODIFIED")


def secret_of(pod: dict[str, Any]) -> str:
    """Return the name of the Secret that a pod's volume needs."""
    return str(next(volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume))


def start_process(pod: dict[str, Any], secret: dict[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    """Start what a pod's container would run, below `folder`: its Secret as files, its fields as variables."""
    name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
    mount = next(each["mountPath"] for each in container["volumeMounts"] if each["name"] == "token")
    held = {k: base64.b64decode(v).decode() for k, v in secret.get("data", {}).items()} | secret.get("stringData", {})
    inside = folder / name / mount.lstrip("/")
    inside.mkdir(parents=True)
    for key, text in held.items():
        (inside / key).write_text(text, encoding="utf-8")
    paths = {"metadata.name": name, "spec.nodeName": pod["spec"]["nodeName"]}
    paths |= {f"metadata.labels['{label}']": value for label, value in pod["metadata"]["labels"].items()}
    env = {each["name"]: paths[each["valueFrom"]["fieldRef"]["fieldPath"]] for each in container["env"]}
    arguments = []
    for argument in container["args"]:
        for key, value in env.items():
            argument = argument.replace(f"$({key})", value)
        arguments.append(argument.replace(mount, str(inside)))
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(env),
            start_new_session=True,
        )  # fmt: skip
