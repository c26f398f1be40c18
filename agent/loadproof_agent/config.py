"""How an agent is set up, and the limits it lives within."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from loadproof_agent.errors import ConfigurationError

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
"""Versions of the wire this agent speaks."""

UNIX_PATH_BYTES_MAX = 103
"""Socket paths end at 107 bytes on Linux and at 103 on macOS."""


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """Bounds of installing a suite's packages. `bytes_max` counts pip's downloads, too; `kept_max` locks are kept."""

    limit_s: float = 480.0
    bytes_max: int = 1024 * 1024 * 1024
    kept_max: int = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one agent. Times in nanoseconds unless the name says otherwise."""

    snapshots_unsent_max: int = 60
    snapshots_in_flight_max: int = 4
    snapshot_bytes_max: int = 4 * 1024 * 1024
    """Larger blocks are cut before they are sent; the controller takes messages of 8 MiB."""
    worker_events_max: int = 100
    outbox_max: int = 1_024
    log_lines_max: int = 200
    log_line_characters_max: int = 1_000
    bundle_bytes_max: int = 64 * 1024 * 1024
    tick_ns: int = 250 * NS_PER_MS
    prepare_ns: int = 120 * NS_PER_S
    hook_ns: int = 120 * NS_PER_S
    blocked_ns: int = 10 * NS_PER_S
    exit_ns: int = 5 * NS_PER_S
    resend_ns: int = 5 * NS_PER_S
    contact_ns: int = 12 * NS_PER_S
    replacements_max: int = 2
    worker_memory_bytes_max: int = 0
    """0: this worker's part of four fifths of the machine's, or of the container's."""
    drain_ns: int = 15 * NS_PER_S
    """How long after the graceful stop a worker may still need before it counts as blocked."""
    packages: PackageLimits = PackageLimits()
    reconnect_ms: tuple[int, int] = (250, 5_000)
    """First and longest pause between two attempts to attach."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent process: whom to dial and what to offer.

    `address` is `unix:/path` or `host:port`; where there are `relays` (`host:port`) one of them is dialled instead.
    `identity` is the one-time proof of a local agent. `cache_dir` None puts bundles into a fresh folder that lives as
    long as the process. `packages_dir` is where the packages that suites need are installed; None: whoever runs this
    agent has not allowed it.
    """

    address: str
    agent_id: str
    identity: str = field(default="", repr=False)
    workers: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    capacity_permille: int = 1_000
    cache_dir: Path | None = None
    packages_dir: Path | None = None
    worker_command: tuple[str, ...] = ()
    """Program of a worker, the socket's number is appended; empty for this package's own."""
    limits: Limits = Limits()
    relays: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't work, naming the field."""
        if self.workers < 1:
            raise ConfigurationError(f"workers is {self.workers}; an agent needs at least 1")
        if not self.agent_id:
            raise ConfigurationError("agent_id is empty; give the agent a name")
        path = self.address.removeprefix("unix:")
        if path != self.address and len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
            raise ConfigurationError(
                f"the socket's path is {len(os.fsencode(path))} bytes long, at most {UNIX_PATH_BYTES_MAX} work: {path}"
            )
