"""The fleet benchmark in small: real gRPC, a real controller process, every sample counted once."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.fleet_load import SERIES, FleetLoad, keys
from benchmarks.fleet_scale import measure
from benchmarks.relay_work import Work

from loadproof_controller.cadence import heartbeat_ms_for, ping_gap_s_for, snapshot_ms_for


@pytest.mark.slow
def test_twenty_agents_are_merged_without_loss() -> None:
    """`measure` raises when a sample is missing or counted twice; each agent's each second is one block."""
    reading = measure(FleetLoad(agents=20, seconds=4, samples=20))
    assert reading.blocks == 80
    assert reading.log_bytes > 80 * 50


def test_relays_leave_the_digest_as_it_is_and_the_controller_their_number_of_messages(tmp_path: Path) -> None:
    """Ten agents through none, one and three relays: the same samples; a stream has two to four messages a second."""
    digests = set()
    for relays in (0, 1, 3):
        work = Work(FleetLoad(agents=10, seconds=3, samples=5), relays, tmp_path)
        readings = [work.second(second) for second in range(3)]
        streams = relays or 10
        assert all(2 * streams <= messages <= 4 * streams for _, messages in readings), readings
        digests.add(work.runner.merged.digest())
        assert sum(delivery.started for delivery in work.runner.merged.delivery.values()) == 10 * 3 * 5 * 5
    assert len(digests) == 1


@pytest.mark.slow
def test_twenty_agents_behind_two_relays_are_merged_without_loss() -> None:
    """Over real gRPC, with real relays: exact, in a few blocks."""
    reading = measure(FleetLoad(agents=20, seconds=4, samples=20), relays=2)
    assert reading.blocks < 20


@pytest.mark.parametrize(
    ("asked", "agents", "told"),
    [(1_000, 1, 1_000), (100, 300, 100), (1_000, 301, 2_000), (1_000, 1_000, 5_000), (9_000, 400, 9_000)],
)
def test_a_large_fleet_reports_less_often(asked: int, agents: int, told: int) -> None:
    """Up to 300 agents as asked, beyond in whole seconds, and never more often than asked."""
    assert snapshot_ms_for(asked, agents) == told


@pytest.mark.parametrize(
    ("lease", "agents", "told"),
    [
        (15_000, 100, 0),
        (15_000, 101, 3_000),
        (15_000, 1_000, 3_750),
        (60_000, 1_000, 5_000),
        (2_000, 1_000, 1_000),
    ],
)
def test_a_large_fleet_beats_less_often_but_four_times_a_lease(lease: int, agents: int, told: int) -> None:
    """Up to 100 agents as Welcome says; beyond, three heartbeats may be lost before a lease is."""
    assert heartbeat_ms_for(lease, agents) == told


def test_clock_exchanges_are_rarer_in_a_large_fleet_but_keep_the_stream_alive() -> None:
    """An agent with a load takes 12 s of silence for a broken stream."""
    assert [ping_gap_s_for(agents) for agents in (0, 100, 101, 1_000)] == [4, 4, 8, 8]


def test_the_simulated_load_has_fifty_series() -> None:
    """What the documentation says of the load is what is sent."""
    assert len(set(keys())) == SERIES == 50
