"""Agents on this machine, as child processes of the command.

Each is in a session of its own, so that Ctrl+C at the terminal reaches only the command, and reads one JSON line from a
pipe that it inherits: where the controller is and a one-time identity. When the pipe ends, however the command died,
the agent leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from loadproof_agent.launch import local_agent_command
from loadproof_cli.errors import InfrastructureProblem

LEAVE_S = 10.0
"""How long an agent may take to leave after its pipe has ended, before it is killed."""
LOG_TAIL_LINES = 12
LOG_TAIL_BYTES = 8_192


@dataclass(slots=True)
class LocalAgent:
    """One agent to be started: its name, its one-time identity, its number of worker processes."""

    agent_id: str
    workers: int
    identity: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


@dataclass(frozen=True, slots=True)
class AgentExit:
    """An agent's process has ended: `code` as the shell would say it, and the last lines it wrote."""

    agent_id: str
    code: int
    tail: str


def local_agents(count: int, workers: int) -> list[LocalAgent]:
    """Return `count` agents named local-1 and so on."""
    return [LocalAgent(f"local-{number}", workers) for number in range(1, count + 1)]


class LocalFleet:
    """Starts agents on entry; on exit ends their pipes, waits for them and kills what is left of their sessions.

    `packages` is where they may install what suites need; None: nowhere.
    """

    def __init__(
        self,
        agents: list[LocalAgent],
        address: str,
        folder: Path,
        environ: Mapping[str, str],
        packages: Path | None = None,
    ) -> None:
        self._agents = agents
        self._address = address
        self._folder = folder
        self._environ = environ
        self._packages = packages
        self._processes: dict[str, Process] = {}

    async def __aenter__(self) -> Self:
        try:
            for agent in self._agents:
                self._processes[agent.agent_id] = await self._start(agent)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def watch(self, on_exit: Callable[[AgentExit], None]) -> None:
        """Tell of each agent's process that ends, until cancelled or all have ended."""
        async with asyncio.TaskGroup() as group:
            for name, process in self._processes.items():
                group.create_task(self._watch(name, process, on_exit))

    async def _watch(self, name: str, process: Process, on_exit: Callable[[AgentExit], None]) -> None:
        code = await process.wait()
        _kill_session(process.pid)  # its workers, should it have left any; at once, before the number is used again
        on_exit(AgentExit(name, code, self._tail(name)))

    async def _start(self, agent: LocalAgent) -> Process:
        with self._log(agent.agent_id).open("wb") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *local_agent_command(), stdin=PIPE, stdout=log, stderr=log, start_new_session=True,
                    env=dict(self._environ),
                )  # fmt: skip
            except OSError as error:
                raise InfrastructureProblem(
                    f"agent {agent.agent_id} could not be started: {error.strerror}."
                ) from error
        line: dict[str, object] = {
            "address": self._address,
            "identity": agent.identity,
            "agent_id": agent.agent_id,
            "workers": agent.workers,
        }
        if self._packages is not None:
            line["packages_dir"] = str(self._packages)
        assert process.stdin
        with contextlib.suppress(ConnectionError):  # it has ended already: `first_exit` tells
            process.stdin.write(json.dumps(line).encode() + b"\n")
            await process.stdin.drain()
        return process

    async def _end(self) -> None:
        running = [process for process in self._processes.values() if process.returncode is None]
        for process in running:
            if process.stdin:
                process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                for process in running:
                    await process.wait()
        for process in running:
            _kill_session(process.pid)
        for process in running:
            await process.wait()

    def _log(self, agent_id: str) -> Path:
        return self._folder / f"{agent_id}.log"

    def _tail(self, agent_id: str) -> str:
        with contextlib.suppress(OSError):
            data = self._log(agent_id).read_bytes()[-LOG_TAIL_BYTES:]
            return "\n".join(data.decode("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:])
        return ""


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
