"""Deals shards to agents by capacity. Pure: the same input gives the same deal, and every shard goes to exactly one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SHARDS_PER_WORKER = 4
SHARDS_MAX = 65_536


def shard_count_for(workers: int) -> int:
    """Return the default number of shards for `workers`: 4 each, so that parts can be weighted and re-dealt."""
    return min(max(workers, 1) * SHARDS_PER_WORKER, SHARDS_MAX)


def deal(shards: Iterable[int], weights: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Deal `shards` over agents in proportion to positive integer `weights`; every agent gets a key.

    Counts are proportional, rounded by largest remainder. An agent with c cards takes its j-th at (2j + 1) / 2c of the
    way through the deck, so that any stretch of neighbouring shards is spread over agents as evenly as the weights
    allow. Ties go by name. Raises ValueError without agents or with a weight below 1.
    """
    if not weights or min(weights.values()) < 1:
        raise ValueError("dealing needs at least one agent, and every weight at least 1")
    deck = tuple(shards)
    total = sum(weights.values())
    names = sorted(weights)
    counts = {name: len(deck) * weights[name] // total for name in names}
    by_remainder = sorted(names, key=lambda name: (-(len(deck) * weights[name] % total), name))
    for name in by_remainder[: len(deck) - sum(counts.values())]:
        counts[name] += 1
    takes = sorted(((2 * j + 1) / (2 * counts[name]), name) for name in names for j in range(counts[name]))
    dealt: dict[str, list[int]] = {name: [] for name in names}
    for shard, (_place, name) in zip(deck, takes, strict=True):
        dealt[name].append(shard)
    return {name: tuple(held) for name, held in dealt.items()}
