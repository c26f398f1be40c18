"""A controller and its agents as processes, as an operator starts them, on loopback."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from shop_cli import COMMAND, environment, loadproof

LIMIT_S = 180.0
PORTS = (15_000, 30_000)
"""Below the ports that Linux (32768 on) and macOS (49152 on) give to whoever asks for any."""


class Service:
    """One long-lived command; its output goes to a file, line by line, and can be waited for."""

    def __init__(self, arguments: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        self._file: IO[bytes] = log.open("ab")
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment(env), stdin=subprocess.DEVNULL, stdout=self._file,
            stderr=subprocess.STDOUT, cwd=log.parent,
        )  # fmt: skip

    def text(self) -> str:
        """Return all it has said."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, words: str, times: int = 1, limit_s: float = LIMIT_S) -> None:
        """Wait until it has said `words` so often."""
        until(lambda: self.text().count(words) >= times or self.process.poll() is not None, self.text, limit_s)
        assert self.text().count(words) >= times, self.text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to leave, a second time after 5 s, and return its exit code; one that does not go is killed."""
        for patience_s in (5, 0):
            if self.process.poll() is None:
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(patience_s)
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._file.close()


def until(true: Callable[[], bool], otherwise: Callable[[], str] = str, limit_s: float = LIMIT_S) -> None:
    """Poll until `true()`; fail with what `otherwise` says."""
    end = time.monotonic() + limit_s
    tick = threading.Event()
    while not true():
        assert time.monotonic() < end, otherwise()
        tick.wait(0.05)


def free_ports() -> tuple[int, int]:
    """Return two ports that nobody listens at now and that no system gives to whoever asks for any.

    A port from the system's own range could go to an outgoing connection of another test before it is listened at.
    """
    found: list[int] = []
    while len(found) < 2:
        port = random.SystemRandom().randrange(*PORTS)  # tests that run beside this one draw, too
        if port in found:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found[0], found[1]


@dataclass
class Deployment:
    """A running controller in `folder`, and its agents by name."""

    folder: Path
    ports: tuple[int, int]
    controller: Service
    agents: dict[str, Service] = field(default_factory=dict)
    relay_ports: dict[str, int] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        """Where people talk to it."""
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def data(self) -> Path:
        """The controller's folder."""
        return self.folder / "data"

    @property
    def operator(self) -> dict[str, str]:
        """The environment of a local operator."""
        token = (self.data / "operator.token").read_text(encoding="utf-8").strip()
        return {"LOADPROOF_CONTROLLER": self.address, "LOADPROOF_TOKEN": token}

    def start_agent(self, name: str, *arguments: str) -> Service:
        """Attach an agent of one worker; the token comes from its environment."""
        join = (self.data / "join.token").read_text(encoding="utf-8").strip()
        command = ["agent", self.address, "--name", name, "--workers", "1", *arguments]
        self.agents[name] = Service(command, self.folder / f"{name}.log", {"LOADPROOF_JOIN": join})
        return self.agents[name]

    def start_relay(self, name: str, port: int) -> Service:
        """Start a relay that listens at `port`; its token comes from a file, made on the first start."""
        file = self.folder / f"{name}.token"
        if not file.exists():
            made = loadproof("token", "create", "--role", "relay", "--name", name, cwd=self.folder, env=self.operator)
            assert made.code == 0, made.err
            file.write_text(next(word for word in made.out.split() if word.startswith("lp1.")), encoding="utf-8")
        command = ["relay", self.address, "--name", name, "--join-file", str(file), "--listen", f"127.0.0.1:{port}"]
        self.agents[name] = Service(command, self.folder / f"{name}.log")
        return self.agents[name]

    def end_agents(self) -> None:
        """Ask all to leave, then wait for each."""
        for agent in self.agents.values():
            if agent.process.poll() is None:
                agent.process.terminate()
        for agent in self.agents.values():
            agent.end()

    def restart_controller(self) -> None:
        """Start it again on what it left."""
        self.controller = start_controller(self.folder, self.ports, self.options, self.env)

    def log_lines(self) -> list[dict[str, str]]:
        """Return every line of every log; each is JSON on its own, or one of those the controller greets with."""
        greetings = ("controller at", "attach an agent:", "submit a run:", "pages:", "run history:")
        lines = [line for service in [self.controller, *self.agents.values()] for line in service.text().splitlines()]
        return [json.loads(line) for line in lines if not line.startswith(greetings)]


def start_controller(
    folder: Path, ports: tuple[int, int], options: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Service:
    """Start a controller and wait until it serves."""
    listen = f"127.0.0.1:{ports[0]}"
    command = ["controller", "--listen", listen, "--agents-port", str(ports[1]), "--data", str(folder / "data")]
    service = Service([*command, *options], folder / "controller.log", env)
    service.wait_for("submit a run:", service.text().count("submit a run:") + 1)
    return service


@contextmanager
def deployed(
    folder: Path, agents: dict[str, list[str]], *options: str, env: dict[str, str] | None = None
) -> Iterator[Deployment]:
    """Run a controller, with `options` and `env` of its own, and its agents; everything is ended on leaving."""
    ports = free_ports()
    controller = start_controller(folder, ports, options, env)
    deployment = Deployment(folder, ports, controller, options=options, env=env or {})
    with ExitStack() as stack:
        stack.callback(lambda: deployment.controller.end())
        stack.callback(deployment.end_agents)
        for name, arguments in agents.items():
            deployment.start_agent(name, *arguments)
        for agent in deployment.agents.values():
            agent.wait_for("attached to")
        yield deployment


def environ_of(pid: int) -> str:
    """Return what a process was started with, empty where that cannot be seen."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
