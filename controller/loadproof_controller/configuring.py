"""What a run's request comes to: the numbers its state machine needs, and what agents are told to prepare."""

from __future__ import annotations

import dataclasses

import orjson

from loadproof.metrics import DENSE_VERSION
from loadproof.plan import ArrivalSchedule
from loadproof_controller.cadence import ack_pause_s_for, heartbeat_ms_for, snapshot_ms_for
from loadproof_controller.machine.config import MachineConfig
from loadproof_controller.messages import Prepare
from loadproof_controller.request import RunRequest

NS_PER_S = 1_000_000_000
PREPARE_NS = 120 * NS_PER_S
INSTALL_NS = 540 * NS_PER_S
"""How much longer agents may take to prepare where they install packages first: longer than their own limit."""


def machine_config(request: RunRequest, orphan_grace_s: float, *, unix: bool) -> MachineConfig:
    """Return the numbers of `request` that the machine needs. `unix`: agents are on this machine."""
    plan = request.plan
    lead_s = request.start_lead_s if request.start_lead_s is not None else (0.3 if unix else 1.5)
    return MachineConfig(
        run_id=request.run_id,
        agents_wanted=request.agents_wanted,
        shard_count=request.shard_count,
        duration_ns=plan.duration_ns,
        graceful_stop_ns=plan.graceful_stop_ns,
        lease_ns=int(request.lease_s * NS_PER_S),
        orphan_grace_ns=int(orphan_grace_s * NS_PER_S),
        on_agent_loss=request.on_agent_loss,
        ack_pause_ns=int(ack_pause_s_for(request.agents_wanted) * NS_PER_S),
        arrivals_before=ArrivalSchedule(plan).count_until if plan.model == "open" else None,
        start_lead_ns=int(lead_s * NS_PER_S),
        stop_lead_ns=(200 if unix else 1_000) * 1_000_000,
        attach_limit_ns=int(request.attach_limit_s * NS_PER_S),
        prepare_limit_ns=PREPARE_NS + (INSTALL_NS if request.spec.requirements is not None else 0),
    )


def prepare_of(request: RunRequest) -> Prepare:
    """Return what all agents are told, but for what `paced` fills in."""
    return Prepare(
        run_id=request.run_id,
        plan=orjson.dumps(request.plan.to_dict()),
        spec=orjson.dumps(request.spec.to_dict()),
        bundle_sha256=request.bundle_info.sha256,
        bundle_bytes=len(request.bundle),
        shard_count=0,
        snapshot_ms=request.snapshot_ms,
        delta_version=DENSE_VERSION,
        secrets=request.secrets,
    )


def paced(prepare: Prepare, request: RunRequest, shard_count: int, streams: int) -> Prepare:
    """Return `prepare` for a plan in `shard_count` shards and a fleet that is heard like `streams` streams."""
    return dataclasses.replace(
        prepare,
        shard_count=shard_count,
        snapshot_ms=snapshot_ms_for(request.snapshot_ms, streams),
        heartbeat_ms=heartbeat_ms_for(int(request.lease_s * 1_000), streams),
    )
