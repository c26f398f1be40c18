"""Several hosts: a controller and three agents in network namespaces, each with its own address, over TLS.

Needs root and the kernel's namespaces; skips elsewhere. The namespaces are gone afterwards, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from fault_target import CountingTarget
from shop_cli import COMMAND, environment, run_json, write_suite

AGENTS = ("a1", "a2", "a3")
CONTROLLER = "10.77.0.1"
TARGET = "10.77.0.9"
PORT = 7_070
NOWHERE = "02:00:00:00:00:99"
CLONE_NEWNET = 0x40000000
SUITE = """
from loadproof import Suite

suite = Suite("Hosts", base_url="${TARGET}")


@suite.transaction("Browse")
async def browse(user):
    (await user.http.get("/item")).check(status=200)
"""
TOML = """
[suite]
module = "suite.py"

[profiles.short]
arrivals = [{ rate = "60/s", for = "8s" }]
seed = 7

[profiles.long]
arrivals = [{ rate = "30/s", for = "45s" }]
seed = 7

[[rules]]
transaction = "*"
require = "success_rate >= 95%"
"""


class Hosts:
    """Namespaces on one bridge: `c` has the controller and the target, the others an agent each."""

    def __init__(self, names: dict[str, str], folder: Path) -> None:
        self.names = names
        self.folder = folder

    def ip(self, host: str, *arguments: str) -> None:
        """Run `ip` on a host."""
        subprocess.run(["ip", "-n", self.names[host], *arguments], check=True, capture_output=True)

    def cut_off(self, host: str) -> None:
        """What `host` sends to the controller goes nowhere, in silence; it still reaches the target."""
        self.ip(host, "neigh", "replace", CONTROLLER, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent")

    def heal(self, host: str) -> None:
        """Let it find the controller again."""
        self.ip(host, "neigh", "del", CONTROLLER, "lladdr", NOWHERE, "dev", "eth0")

    def listener(self, host: str, address: str) -> socket.socket:
        """Return a socket that listens on a host: made by a thread that lives there, for whoever holds it."""
        made: list[socket.socket] = []

        def there() -> None:
            with Path(f"/run/netns/{self.names[host]}").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server((address, 0)))

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        return made[0]

    @contextlib.asynccontextmanager
    async def command(
        self, host: str, *arguments: str, until: str = "", env: dict[str, str] | None = None
    ) -> AsyncIterator[Running]:
        """Run a command on a host and wait until it has said `until`; it is gone afterwards."""
        process = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", self.names[host], *COMMAND, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT,
            cwd=self.folder, env=environment(env), start_new_session=True,
        )  # fmt: skip
        running = Running(process)
        try:
            if until:
                await running.wait_for(until)
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(20):
                    await running.end()
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


class Running:
    """A command on a host, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def wait_for(self, words: str) -> None:
        """Wait until it says `words`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(90):
            while words not in self.said:
                line = await self.process.stdout.readline()
                assert line, f"ended without {words!r}: {self.said}"
                self.said += line.decode()

    async def end(self) -> int:
        """Wait for its end and return its exit code."""
        assert self.process.stdout is not None
        self.said += (await self.process.stdout.read()).decode()
        return await self.process.wait()


def sweep() -> None:
    """Delete what a test that was killed left behind: its namespaces are named after its process, which is gone."""
    for place in Path("/run/netns").glob("lp*"):
        found = re.fullmatch(r"lp(\d+)(?:sw|c|a\d)", place.name)
        if found is None or psutil.pid_exists(int(found[1])):
            continue
        inside = subprocess.run(["ip", "netns", "pids", place.name], capture_output=True, text=True, check=False)
        for pid in inside.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", place.name], capture_output=True, check=False)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Give the namespaces and the wires between them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces take root and the ip command")
    sweep()
    names = {host: f"lp{os.getpid()}{host}" for host in ("sw", "c", *AGENTS)}
    made: list[str] = []
    try:
        for name in names.values():
            done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"network namespaces are not permitted here: {done.stderr.strip()}")
            made.append(name)
        net = Hosts(names, tmp_path)
        net.ip("sw", "link", "add", "br0", "type", "bridge")
        net.ip("sw", "link", "set", "br0", "up")
        for number, host in enumerate(("c", *AGENTS), 1):
            net.ip("sw", "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", names[host])
            net.ip("sw", "link", "set", host, "master", "br0", "up")
            net.ip(host, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            net.ip(host, "link", "set", "lo", "up")
            net.ip(host, "link", "set", "eth0", "up")
        net.ip("c", "addr", "add", f"{TARGET}/24", "dev", "eth0")
        yield net
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("cut", ["short", pytest.param("long", marks=pytest.mark.slow)])
async def test_one_host_of_three_is_cut_off_and_healed(hosts: Hosts, tmp_path: Path, cut: str) -> None:
    """Cut off for less than its lease an agent loses nothing; for longer it stops, is called lost, and returns."""
    suite = write_suite(tmp_path / "suite", toml=TOML, suite=SUITE)
    data = tmp_path / "data"
    async with contextlib.AsyncExitStack() as stack:
        target = await stack.enter_async_context(CountingTarget(sock=hosts.listener("c", TARGET)))
        serve = ("controller", "--listen", f"{CONTROLLER}:{PORT}", "--data", str(data))
        await stack.enter_async_context(hosts.command("c", *serve, until="submit a run:"))
        join = {"LOADPROOF_JOIN": (data / "join.token").read_text().strip()}
        for name in AGENTS:
            attach = ("agent", f"{CONTROLLER}:{PORT}", "--name", name, "--workers", "1")
            await stack.enter_async_context(hosts.command(name, *attach, until="attached to", env=join))
        order = ("run", str(suite), "--profile", cut, "--controller", f"{CONTROLLER}:{PORT}", "--agents", "3")
        env = {"LOADPROOF_TOKEN": (data / "operator.token").read_text().strip(), "TARGET": target.url}
        run = await stack.enter_async_context(hosts.command("c", *order, "--out", str(tmp_path / "out"), env=env))
        await target.received(60)
        hosts.cut_off("a2")
        if cut == "short":
            await target.received(60 + 240)
        else:
            await run.wait_for("agent a2 was lost")
        hosts.heal("a2")
        code = await run.end()
    report = run_json(tmp_path / "out")
    delivery = report["delivery"]
    assert delivery["completed"] == delivery["started"] == len(target.got), run.said
    assert delivery["planned"] == sum(delivery[part] for part in ("started", "dropped", "missed", "lost"))
    assert set(Counter(entry.trace.split("-")[1] for entry in target.got).values()) == {1}
    assert [agent["lost"] for agent in report["fleet"]] == [False, False, False]
    if cut == "short":
        assert (delivery["missed"], delivery["lost"]) == (0, 0)
    else:
        assert delivery["missed"] > 0
        assert "agent a2 was thought lost and returned" in run.said
        assert code == 3
