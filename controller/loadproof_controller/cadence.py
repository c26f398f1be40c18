"""How often agents speak up: as asked in a small fleet, less often in a large one, so that one controller keeps up."""

from __future__ import annotations

AGENTS_AT_FULL_PACE = 300
"""Up to so many agents are heard each second."""
AGENTS_A_SECOND = 200
"""In a larger fleet each is heard one second less often for each so many more."""
AGENTS_AT_FULL_SPEECH = 100
"""Up to so many agents beat each second; more of them say less beside their numbers."""
QUIET_HEARTBEAT_S = 3
ACK_PAUSE_S = 1.5
"""Agents have four deltas on their way at most, and repeat them when nothing was acked for 5 s."""
MS_PER_S = 1_000
HEARTBEAT_MS = 1_000
PING_GAP_S = 4
PING_GAP_S_MAX = 8
"""An agent with a load takes 12 s without a word for a broken stream."""


def snapshot_ms_for(asked_ms: int, streams: int) -> int:
    """Return the interval between snapshots in milliseconds: `asked_ms` up to 300 streams, one second more for each 200
    beyond. A stream is an agent's, or a relay's for many. Only how fresh the live numbers are depends on it: every
    second is still counted apart.
    """
    if streams <= AGENTS_AT_FULL_PACE:
        return asked_ms
    return max(asked_ms, _stretch(streams) * MS_PER_S)


def heartbeat_ms_for(lease_ms: int, streams: int) -> int:
    """Return the interval between heartbeats in milliseconds, 0 for the one of Welcome: 3 s above 100 streams, beyond
    that stretched like that of snapshots. A lease has room for four of them.
    """
    if streams <= AGENTS_AT_FULL_SPEECH:
        return 0
    seconds = max(QUIET_HEARTBEAT_S, _stretch(streams))
    return max(HEARTBEAT_MS, min(MS_PER_S * seconds, lease_ms // 4))


def ack_pause_s_for(agents: int) -> float:
    """Return the seconds between acks of one of `agents`: in a large fleet one ack is for two deltas."""
    return 0.0 if agents <= AGENTS_AT_FULL_SPEECH else ACK_PAUSE_S


def ping_gap_s_for(agents: int) -> int:
    """Return the seconds between clock exchanges with one of `agents`."""
    return PING_GAP_S if agents <= AGENTS_AT_FULL_SPEECH else PING_GAP_S_MAX


def _stretch(streams: int) -> int:
    return 1 + max(-(-(streams - AGENTS_AT_FULL_PACE) // AGENTS_A_SECOND), 0)
