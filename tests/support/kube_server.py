"""A real control plane on loopback: etcd, kube-apiserver, and Kubernetes' controllers for Jobs, garbage and quotas.

The programs are in the folder $LOADPROOF_KUBE_APISERVER, built by tests/support/kube_apiserver/build.sh; etcd is on the
PATH or beside them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from http_certificates import Authority
from kube_api import Api
from service_mode import free_ports, until

VARIABLE = "LOADPROOF_KUBE_APISERVER"
LEVEL = {"pod-security.kubernetes.io/enforce": "restricted"}
READY_S = 180.0
END_S = 30.0
VERSIONS_BEFORE = 10
"""A watch from one of these is too old: the server has never seen them."""


class Server:
    """A control plane that serves. `admin` may do everything."""

    def __init__(self, address: str, token: str, authority: str) -> None:
        self.address = address
        self.authority = authority
        self.admin = Api(address, token, authority)
        self._namespaces = 0

    def new_namespace(self) -> str:
        """Make a namespace that lets in only pods of the strictest security level; return its name."""
        self._namespaces += 1
        name = f"load-{self._namespaces}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LEVEL}}
        self.admin.do("POST", "/api/v1/namespaces", body)
        return name

    def make_account(self, namespace: str, name: str) -> None:
        """Make a service account."""
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        self.admin.do("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body)


def missing() -> str:
    """Return what a real control plane lacks here, nothing where it can be had."""
    if VARIABLE not in os.environ:
        return f"${VARIABLE} is not set; tests/support/kube_apiserver/build.sh builds what it names"
    return "" if _etcd_program() else "there is no etcd here"


def _etcd_program() -> str | None:
    return shutil.which("etcd", path=os.pathsep.join([os.environ[VARIABLE], os.environ["PATH"]]))


PLACES = ("stand-in",) if missing() else ("stand-in", "kube-apiserver")
"""Against what tests are run that both can pass."""


@contextmanager
def real_server(folder: Path) -> Iterator[Server]:
    """Start a control plane, wait until it is ready, and end it on leaving; skips the test where that cannot be."""
    if missing():
        pytest.skip(missing())
    programs = Path(os.environ[VARIABLE])
    authority = Authority(folder)
    token = secrets.token_hex()
    (folder / "token").write_text(token, encoding="utf-8")
    with ExitStack() as stack:
        store = stack.enter_context(_etcd(str(_etcd_program()), folder))
        port, _other = free_ports()
        server = Server(f"https://127.0.0.1:{port}", token, authority.ca_file)
        process = stack.enter_context(_process(_apiserver(programs, folder, authority, store, port), folder))
        ready = urllib.request.Request(f"{server.address}/readyz", headers={"Authorization": f"Bearer {token}"})
        trust = ssl.create_default_context(cafile=server.authority)
        process.wait_until(lambda: _answers(ready, trust))
        controllers = [str(programs / "kube-controllers"), f"-server={server.address}"]
        controllers += [f"-token-file={folder / 'token'}", f"-ca-file={server.authority}"]
        stack.enter_context(_process(controllers, folder))
        yield server


def _apiserver(programs: Path, folder: Path, authority: Authority, store: str, port: int) -> list[str]:
    certificate, key = authority.issue("127.0.0.1")
    (folder / "tokens.csv").write_text(f'{(folder / "token").read_text()},admin,1,"system:masters"\n', encoding="utf-8")
    options = {
        "etcd-servers": store,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "endpoint-reconciler-type": "none",
        "secure-port": port,
        "tls-cert-file": certificate,
        "tls-private-key-file": key,
        "cert-dir": folder / "made",
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": certificate,
        "service-account-signing-key-file": key,
        "service-cluster-ip-range": "10.0.0.0/24",
    }
    return [str(programs / "kube-apiserver"), *(f"--{name}={value}" for name, value in options.items())]


@contextmanager
def _etcd(program: str, folder: Path) -> Iterator[str]:
    """Give the address of an etcd that has seen other versions before: what is older than all it lists is forgotten."""
    ports = free_ports()
    clients, peers = (f"http://127.0.0.1:{port}" for port in ports)
    command = [
        program, "--name=one", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}", f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=one={peers}",
    ]  # fmt: skip
    body = {name: base64.b64encode(b"other").decode() for name in ("key", "value")}
    request = urllib.request.Request(f"{clients}/v3/kv/put", json.dumps(body).encode(), method="POST")
    with _process(command, folder) as process:
        for _ in range(VERSIONS_BEFORE):
            process.wait_until(lambda: _answers(request, None))
        yield clients


def _answers(request: urllib.request.Request, context: ssl.SSLContext | None) -> bool:
    """Return whether the answer is 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=END_S, context=context) as answer:
        return bool(answer.status == 200)
    return False


class _Process:
    """A program that runs; its log is `log`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready; fail with its last words when it ends before, or takes too long."""

        def words() -> str:
            return f"{self._log.name}: {self._log.read_text(encoding='utf-8')[-3_000:]}"

        until(lambda: ready() or self._process.poll() is not None, words, READY_S)
        assert self._process.poll() is None, words()


@contextmanager
def _process(command: list[str], folder: Path) -> Iterator[_Process]:
    """Run a program; it is ended on leaving, gently first."""
    path = folder / f"{Path(command[0]).name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        yield _Process(process, path)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
