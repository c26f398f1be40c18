"""Failures counted by agent: exact, bounded, in any order, through relays, and never what an agent says of another."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_runs import open_plan
from loadproof.metrics import (
    AGENTS_VERSION,
    DENSE_VERSION,
    Block,
    CodecError,
    Delta,
    ErrorKey,
    ErrorStats,
    MergedState,
    attribute,
    decode_block,
    decode_delta,
    encode_delta,
    merge_delta,
    series_totals,
    sums_of,
)
from loadproof.metrics.by_agent import AGENTS_MAX, merge_agents
from loadproof_controller.errors import HostileData
from loadproof_controller.hostile import DeltaCheck
from loadproof_controller.relays import messages as rm
from loadproof_controller.relays.blocks import checked_block
from loadproof_controller.runlog import LOG_NAME, LOG_VERSION, RunLog, replay
from logged_runs import EPOCH, LoggedRun
from metrics_samples import recorded
from relay_driver import RelayDriver

KEY = ErrorKey("T0", "Open", "", "check", "is wrong", "peak")


def failing(count: int, agents: dict[str, int] | None = None) -> Delta:
    """Return a delta with `count` failures of one kind."""
    return Delta(0, 10**9, errors={KEY: ErrorStats(count, 0, 1, [], agents or {})})


def by_agent(state: MergedState) -> dict[str, int]:
    """Return how often each agent saw the failures, of all kinds together."""
    seen: Counter[str] = Counter()
    for stats in state.errors.values():
        seen.update(stats.agents)
    return dict(seen)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 9)), max_size=200), st.randoms(use_true_random=False))
def test_the_first_agents_are_counted_exactly_in_any_order_and_grouping(seen, random) -> None:
    """Of over 64 agents the first 64 by id are kept, each with all that it saw, whatever was added up first."""
    expected: Counter[str] = Counter()
    for number, n in seen:
        expected[f"agent-{number:03}"] += n
    parts = [{f"agent-{number:03}": n} for number, n in seen]
    random.shuffle(parts)
    cut = random.randint(0, len(parts))
    halves = (functools.reduce(merge_agents, half, {}) for half in (parts[:cut], parts[cut:]))
    total = functools.reduce(merge_agents, halves, {})
    assert total == {agent: expected[agent] for agent in sorted(expected)[:AGENTS_MAX]}


def test_who_saw_a_failure_survives_the_way_there_and_back() -> None:
    """A reader of version 3 gets the counts; what is written for an older one is as it was before they were kept."""
    known = failing(7, {"a": 4, "b": 2})
    assert decode_delta(encode_delta(known)) == known
    assert encode_delta(known, agents=False) == encode_delta(failing(7))


@pytest.mark.parametrize(
    "agents", [{"a": 8}, {"a": 4, "b": 4}, {f"agent-{n}": 0 for n in range(AGENTS_MAX + 1)}], ids=["one", "two", "many"]
)
def test_more_failures_by_agent_than_there_were_are_refused(agents: dict[str, int]) -> None:
    """So are more agents than are ever kept."""
    with pytest.raises(CodecError):
        decode_delta(encode_delta(failing(7, agents)))


def test_a_relay_counts_by_agent_for_a_controller_that_reads_it() -> None:
    """Two children in one block: each failure is its child's. For an older controller the block is as before."""
    for version, expected in ((AGENTS_VERSION, {"a": 5, "b": 3}), (DENSE_VERSION, {})):
        relay = RelayDriver(delta_version=version)
        relay.attach("a", "b")
        relay.snapshot("a", 1, encode_delta(failing(2)))
        relay.snapshot("b", 1, encode_delta(failing(3, {"a": 3})))  # says of another what it saw itself
        relay.snapshot("a", 2, encode_delta(failing(3)))
        block = relay.block()
        assert block is not None
        assert decode_delta(block.delta).errors[KEY].agents == expected


def relayed(name: str, seed: int) -> rm.RelayedRange:
    """Return the range of one sample delta."""
    return rm.RelayedRange(name, 1, 1, 1, *sums_of(series_totals(recorded(seed))))


class Lenient(DeltaCheck):
    """Lets every name through: here only agents matter."""

    def block(self, block: Block, elapsed_ns: int) -> None:
        """Refuse nothing."""


def test_a_block_may_name_its_own_agents_only() -> None:
    """One that names another is refused; where it is of one agent, all failures are that one's."""
    whole = merge_delta(recorded(1), recorded(2))
    both = (relayed("a", 1), relayed("b", 2))
    for stats in whole.errors.values():
        stats.agents = {"b": 1}
    held = checked_block(rm.RelayBlock("run", 1, both, encode_delta(whole)), Lenient(open_plan(), 0), 60 * 10**9)
    assert all(stats.agents == {"b": 1} for stats in held.rest.errors.values())
    for stats in whole.errors.values():
        stats.agents = {"c": 1}
    with pytest.raises(HostileData, match="names agents"):
        checked_block(rm.RelayBlock("run", 1, both, encode_delta(whole)), Lenient(open_plan(), 0), 60 * 10**9)
    one = recorded(1)
    attribute(one, "c")
    held = checked_block(rm.RelayBlock("run", 1, both[:1], encode_delta(one)), Lenient(open_plan(), 0), 60 * 10**9)
    assert all(stats.agents == {"a": stats.count} for stats in held.rest.errors.values())


def test_a_log_that_is_read_back_counts_alike(tmp_path: Path) -> None:
    """From records of agents, blocks of one agent or several, and a checkpoint with records behind it."""
    path = tmp_path / LOG_NAME
    with RunLog(path) as log:
        log.append("run", LOG_VERSION, "run-1", b"{}")
        log.append("delta", "a", 1, 1, 1, encode_delta(failing(2, {"b": 2})))
        log.append("block", [("b", 2, 1, 1, 1, 2, 3)], encode_delta(failing(3)))
        log.append("block", [("a", 1, 2, 2, 1, 2, 3), ("b", 2, 2, 2, 1, 2, 3)], encode_delta(failing(4, {"b": 4})))
    assert by_agent(replay(path).merged) == {"a": 2, "b": 7}

    place = tmp_path / "run"
    place.mkdir()
    with (run := LoggedRun(place)).log:
        run.begin()
        run.merged.apply_all([decode_block(encode_delta(failing(9, {"a": 5, "b": 4})))])
        run.checkpoint()
        run.log.append("delta", "a", EPOCH, 1, 1, encode_delta(failing(1)))
    back = replay(place / LOG_NAME)
    assert (back.checkpoint is not None, by_agent(back.merged)) == (True, {"a": 6, "b": 4})
