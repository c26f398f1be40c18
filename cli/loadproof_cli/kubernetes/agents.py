"""The agents of one run in a cluster: created, waited for, and removed, after failure and Ctrl+C too."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loadproof_cli.console import Console
from loadproof_cli.errors import CliError, InfrastructureProblem
from loadproof_cli.kubernetes.cluster import CALL_LIMIT_S, CONFLICT, Cluster, RefusedByCluster
from loadproof_cli.kubernetes.manifests import JOB_LABEL, job_manifest, job_name, secret_manifest
from loadproof_cli.kubernetes.options import ClusterOptions
from loadproof_cli.kubernetes.troubles import disruptions, hopeless, still_missing
from loadproof_cli.remote import Remote, ask
from loadproof_controller.fleet_service import FleetEntry
from loadproof_controller.operations.client import ControllerClient

REMOVE_S = 90.0
MARGIN_S = 3600
"""How much longer than its run a Job may last, queueing included, should nobody be left to remove it."""
NEVER_ENDING_S = 24 * 3600
TAKEN_MAX = 200
"""Of pods that the cluster took away, so many are told."""
PAUSE_S, RETRY_S = 0.2, 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Crowd:
    """The agents wanted. `duration_s` is the planned length of the load, None when it is not known."""

    run_id: str
    agents: int
    duration_s: float | None

    def deadline_s(self, wait_s: float) -> int:
        """Return after how many seconds the cluster ends the agents by itself."""
        load_s = NEVER_ENDING_S if self.duration_s is None else self.duration_s
        return int(wait_s + load_s + MARGIN_S)


@contextmanager
def agents_in_cluster(console: Console, crowd: Crowd, options: ClusterOptions, remote: Remote) -> Iterator[Remote]:
    """Give the controller with the label of the agents that are attached by then; remove them in the end.

    Raises UsageProblem before and InfrastructureProblem after something was created, always having removed it.
    SIGTERM counts as Ctrl+C meanwhile; neither ends the removal.
    """
    with console.interruptible():
        cluster = _opened(console, options)
    made = _Made(console, cluster, crowd, options, remote)
    try:
        with console.interruptible() as check:
            made.create()
            made.wait(check)
            with made.followed():
                yield dataclasses.replace(remote, labels={**remote.labels, JOB_LABEL: made.name})
    finally:
        with console.undisturbed(lambda: console.say("the agents are being removed, a moment")):
            made.remove()


def _opened(console: Console, options: ClusterOptions) -> Cluster:
    cluster = Cluster(console.environ, options.namespace, options.context)
    missing = cluster.missing_rights()
    if missing:
        raise InfrastructureProblem(
            f"namespace {cluster.namespace}: this account may not {', '.join(missing)}; nothing was created.",
            hint="deploy/kubernetes/runner-role.yaml is a Role with just the rights that are needed.",
        )
    return cluster


class _Made:
    """What was created for a run, so far."""

    def __init__(
        self, console: Console, cluster: Cluster, crowd: Crowd, options: ClusterOptions, remote: Remote
    ) -> None:
        self.name = job_name(crowd.run_id)
        self._console = console
        self._cluster = cluster
        self._crowd = crowd
        self._options = options
        self._remote = remote
        self._token_id = ""
        self._tried = False
        self._taken: dict[str, str] = {}
        self._deadline_s = crowd.deadline_s(options.wait_s)

    @property
    def _selector(self) -> str:
        return f"loadproof.dev/job={self.name}"

    def create(self) -> None:
        """Make the token, the Job and the Job's Secret."""
        token = self._create_token()
        manifest = job_manifest(self.name, self._crowd.run_id, self._crowd.agents, self._options, self._deadline_s)
        try:
            self._tried = True
            uid = self._cluster.create_job(manifest)
        except RefusedByCluster as error:
            self._tried = error.status != CONFLICT  # another's: not ours to remove
            raise
        self._cluster.create_secret(secret_manifest(self.name, self._crowd.run_id, token, uid))
        at = f"namespace {self._cluster.namespace} of {self._cluster.server}"
        self._console.say(f"job {self.name}: {self._crowd.agents} agents in {at}")

    def wait(self, check: Callable[[], None]) -> None:
        """Return when all agents are attached. Raises InfrastructureProblem when they will not be.

        `check` is called on every turn and raises what ends the waiting.
        """
        pods, version = self._cluster.pods(self._selector)
        until, told = time.monotonic() + self._options.wait_s, -1
        while True:
            check()
            attached = len(self._attached())
            if attached >= self._crowd.agents:
                return
            if attached != told:
                self._console.say(f"{attached} of {self._crowd.agents} agents attached")
                told = attached
            events = self._cluster.events_of(self.name)
            reason = hopeless(pods.values(), events, namespace=self._cluster.namespace, agents=self._crowd.agents)
            if reason is not None:
                raise InfrastructureProblem(f"{reason}. No load was started.")
            if time.monotonic() > until:
                raise InfrastructureProblem(
                    f"{still_missing(pods.values(), attached, self._crowd.agents)}. No load was started.",
                    hint="--wait-for-agents TIME waits longer.",
                )
            version = self._cluster.watch_pods(self._selector, pods, version, self._note)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Watch the pods in a thread meanwhile: of one that was evicted nothing is left to look at afterwards."""
        over = threading.Event()
        thread = threading.Thread(target=self._follow, args=(over,), name="pods", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(CALL_LIMIT_S)

    def _follow(self, over: threading.Event) -> None:
        pods: dict[str, dict[str, Any]] = {}
        version = ""
        while not over.wait(PAUSE_S):
            try:
                if not version:
                    pods, version = self._cluster.pods(self._selector)
                version = self._cluster.watch_pods(self._selector, pods, version, self._note)
            except CliError:  # the run goes on without; what is left of the pods is looked at in the end
                version = ""
                over.wait(RETRY_S)

    def _note(self, pod: dict[str, Any]) -> None:
        for line in disruptions([pod]):
            if len(self._taken) < TAKEN_MAX:
                self._taken[pod["metadata"]["name"]] = line

    def remove(self) -> None:
        """Remove what was made, wait until the pods are gone, and say what is left should that fail."""
        left: list[str] = []
        if self._tried:
            with contextlib.suppress(CliError):
                pods, _version = self._cluster.pods(self._selector)
                for pod in pods.values():
                    self._note(pod)
            for line in self._taken.values():
                self._console.say(line)
            for what, work in (
                (f"job {self.name}", lambda: self._cluster.delete_job(self.name)),
                (f"secret {self.name}", lambda: self._cluster.delete_secret(self.name)),
                (f"pods -l {self._selector}", self._wait_until_gone),
            ):
                self._attempt(work, what, left)
        if self._token_id:
            self._attempt(self._revoke_token, "", left)
        for what in left:
            self._console.say(
                f"still there: kubectl -n {self._cluster.namespace} delete {what} removes it", style="bold red"
            )
        if self._tried and not left:
            self._console.say(f"job {self.name}: its agents are removed")

    def _attempt(self, work: Callable[[], None], what: str, left: list[str]) -> None:
        try:
            work()
        except CliError as error:
            self._console.say(error.text, style="yellow")
            if what:
                left.append(what)

    def _wait_until_gone(self) -> None:
        pods, version = self._cluster.pods(self._selector)
        until = time.monotonic() + REMOVE_S
        while pods:
            if time.monotonic() > until:
                names = ", ".join(sorted(pods)[:5])
                raise InfrastructureProblem(f"{len(pods)} pods did not end in time: {names}.")
            version = self._cluster.watch_pods(self._selector, pods, version, self._note)

    def _attached(self) -> list[FleetEntry]:
        async def work() -> list[FleetEntry]:
            async with ControllerClient(self._remote.address, self._remote.token) as client:
                return await client.fleet()

        return [entry for entry in ask(work) if entry.labels.get(JOB_LABEL) == self.name]

    def _create_token(self) -> str:
        async def work() -> tuple[Any, str]:
            async with ControllerClient(self._remote.address, self._remote.token) as client:
                return await client.create_token("agent", f"job {self.name}", ttl_s=self._deadline_s)

        entry, text = ask(work)
        self._token_id = entry.token_id
        return text

    def _revoke_token(self) -> None:
        async def work() -> None:
            async with ControllerClient(self._remote.address, self._remote.token) as client:
                await client.revoke_token(self._token_id)

        ask(work)
