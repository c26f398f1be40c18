"""deploy/ssh/fleet.py against real ssh servers on loopback: agents start, attach, and stop."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service_mode import Deployment, deployed, free_ports, until
from shop_cli import COMMAND, loadproof
from tree import ROOT

SSHD = shutil.which("sshd") or next((p for p in ("/usr/sbin/sshd",) if Path(p).is_file()), None)
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("load"),
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="no OpenSSH server and client"),
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="an ssh server of one's own needs root here"),
]


@dataclass
class Hosts:
    """Two "machines": ssh servers with homes of their own."""

    folder: Path
    config: Path

    def fleet(self, action: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
        ssh = f"ssh -F {self.config}"
        command = [
            sys.executable,
            ROOT / "deploy/ssh/fleet.py",
            action,
            self.folder / "hosts.txt",
            "--ssh",
            ssh,
            *options,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def home(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = folder / "loadproof"
    command.write_text(f"#!/bin/sh\nexec {COMMAND[0]} -c '{COMMAND[2]}' \"$@\"\n")
    command.chmod(0o755)
    config, servers = [], []
    for name, port in zip(("one", "two"), free_ports(), strict=True):
        (folder / name).mkdir()
        settings = folder / f"sshd-{name}"
        settings.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
            f"SetEnv HOME={folder / name} PATH={folder}:/usr/bin:/bin\n"
        )
        log = folder / f"sshd-{name}.log"
        servers.append(subprocess.Popen([str(SSHD), "-D", "-E", str(log), "-f", str(settings)]))
        until(lambda log=log: log.exists() and "listening" in log.read_text())
        config.append(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder}/user\n  StrictHostKeyChecking no\n"
            "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        )
    (folder / "ssh_config").write_text("".join(config))
    (folder / "hosts.txt").write_text("one\ntwo --workers 1 --label region=eu\n")
    found = Hosts(folder, folder / "ssh_config")
    try:
        yield found
    finally:
        found.fleet("stop")
        for server in servers:
            server.terminate()
            server.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("service"), {}) as deployment:
        yield deployment


def test_agents_start_show_and_stop_on_every_host(hosts: Hosts, place: Deployment, tmp_path: Path) -> None:
    """One command attaches both hosts; a second start changes nothing; stop leaves neither process nor token."""
    join = ["--controller", place.address, "--join-file", place.data / "join.token"]
    started = hosts.fleet("start", *join)
    assert started.returncode == 0, started.stderr + started.stdout
    assert started.stdout.count("attached, process") == 2
    fleet = loadproof("fleet", cwd=tmp_path, env=place.operator).out
    assert "region=eu" in fleet
    assert len(fleet.strip().splitlines()) == 3
    token = (place.data / "join.token").read_text().strip()
    pid = int((hosts.home("one") / ".loadproof-agent/pid").read_text())
    assert token not in Path(f"/proc/{pid}/cmdline").read_text()
    assert (hosts.home("one") / ".loadproof-agent/join").stat().st_mode & 0o077 == 0
    assert hosts.fleet("start", *join).stdout.count("runs already") == 2
    assert hosts.fleet("status").stdout.count("runs, process") == 2
    stopped = hosts.fleet("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.count("stopped") == 2
    assert not Path(f"/proc/{pid}").exists()
    assert not (hosts.home("one") / ".loadproof-agent/join").exists()
    assert hosts.fleet("status").stdout.count("does not run") == 2


def test_a_host_that_fails_is_named_and_the_others_go_on(hosts: Hosts, place: Deployment, tmp_path: Path) -> None:
    """A wrong token on every host, and a host that is not there: each is named with its reason, the code is 1."""
    wrong = tmp_path / "wrong"
    wrong.write_text("lp1.nonsense\n")
    done = hosts.fleet("start", "--controller", place.address, "--join-file", wrong)
    assert done.returncode == 1
    assert done.stdout.count("the agent ended:") == 2
    assert "failed on 2 of 2: one, two" in done.stderr
    (hosts.folder / "hosts.txt").write_text("one\nnowhere.invalid\n")
    done = hosts.fleet("status")
    (hosts.folder / "hosts.txt").write_text("one\ntwo --workers 1 --label region=eu\n")
    assert done.returncode == 1
    assert "one: does not run" in done.stdout
    assert "failed on 1 of 2: nowhere.invalid" in done.stderr


def test_a_command_that_is_not_there_is_named(hosts: Hosts, place: Deployment) -> None:
    """Without Loadproof on the host the message says so."""
    join = ["--controller", place.address, "--join-file", place.data / "join.token"]
    done = hosts.fleet("start", *join, "--command", "no-such-loadproof")
    assert done.returncode == 1
    assert "there is no command no-such-loadproof" in done.stdout
