"""The run's log: what it holds survives, what is torn off does not count."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from loadproof.metrics import Delivery, Delta, MergedState, encode_delta
from loadproof_controller.errors import RunLogError
from loadproof_controller.messages import UserDraws
from loadproof_controller.runlog import LOG_VERSION, RunLog, replay


def delta(n: int) -> bytes:
    """Return an encoded delta of `n` starts."""
    return encode_delta(Delta(delivery={("Search", "load"): Delivery(started=n)}))


def write(path: Path, count: int = 3) -> list[int]:
    """Write a log with `count` deltas; return the file's size after each record."""
    sizes = []
    with RunLog(path) as log:
        log.append("run", LOG_VERSION, "run-1", b"{}")
        for seq in range(1, count + 1):
            log.append("delta", "a", 7, seq, seq, delta(seq))
            sizes.append(path.stat().st_size)
    return sizes


def started(merged: MergedState) -> int:
    """Return how many starts were merged."""
    return sum(delivery.started for delivery in merged.delivery.values())


def test_replay_gives_the_merged_state_and_the_numbers_back(tmp_path: Path) -> None:
    """Everything appended is there: run, deltas, draws, state, events."""
    path = tmp_path / "run.log"
    write(path)
    with RunLog(path, resume=True) as log:
        log.append("draws", "a", 7, [(3, 0, 100)])
        log.append("draws", "b", 8, [(3, 0, 50)])
        log.append("state", {"fence": 4}, [{"agent_id": "a", "epoch": 7}])
        log.append("event", 12, "agent_lost", "agent b was lost", "b")
    back = replay(path)
    assert (back.run_id, back.seqs, started(back.merged)) == ("run-1", {("a", 7): 3}, 6)
    assert back.draws == {(3, 0): UserDraws(3, 0, 100)}
    assert (back.run_state, back.torn_bytes, back.records) == ({"fence": 4}, 0, 8)
    assert back.members == {("a", 7): {"agent_id": "a", "epoch": 7}}
    assert back.events == [(12, "agent_lost", "agent b was lost", "b")]


def test_a_record_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    """Another reader sees it while the writer is still open: nothing waits in our memory."""
    path = tmp_path / "run.log"
    with RunLog(path) as log:
        log.append("run", LOG_VERSION, "run-1", b"{}")
        log.append("delta", "a", 7, 1, 1, delta(5))
        assert started(replay(path).merged) == 5


def test_a_log_cut_at_any_byte_replays_to_its_last_whole_record(tmp_path: Path) -> None:
    """Crash points enumerated: never an error, never half a record, never one too many."""
    path = tmp_path / "run.log"
    sizes = write(path)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        back = replay(path)
        complete = sum(size <= cut for size in sizes)
        assert back.seqs == ({("a", 7): complete} if complete else {})
        assert started(back.merged) == sum(range(complete + 1))


def test_a_damaged_byte_ends_the_log_there(tmp_path: Path) -> None:
    """A checksum that does not fit makes everything from there on not count."""
    path = tmp_path / "run.log"
    sizes = write(path)
    data = bytearray(path.read_bytes())
    data[sizes[0] + 12] ^= 1
    path.write_bytes(data)
    back = replay(path)
    assert back.seqs == {("a", 7): 1}
    assert back.torn_bytes == len(data) - sizes[0]


def test_resuming_cuts_a_torn_tail_off_and_goes_on(tmp_path: Path) -> None:
    """After a crash in the middle of a record the log is whole again."""
    path = tmp_path / "run.log"
    sizes = write(path)
    os.truncate(path, sizes[2] - 3)
    with RunLog(path, resume=True) as log:
        log.append("delta", "a", 7, 3, 3, delta(10))
    back = replay(path)
    assert (back.seqs, started(back.merged), back.torn_bytes) == ({("a", 7): 3}, 13, 0)


def test_numbers_out_of_order_end_the_log(tmp_path: Path) -> None:
    """A log that would count a delta twice is not believed beyond that point."""
    path = tmp_path / "run.log"
    write(path, 2)
    with RunLog(path, resume=True) as log:
        log.append("delta", "a", 7, 2, 2, delta(100))
    assert started(replay(path).merged) == 3


def test_a_log_is_never_written_over(tmp_path: Path) -> None:
    """A second run in the same folder is refused, not mixed in."""
    path = tmp_path / "run.log"
    write(path)
    with pytest.raises(RunLogError, match="cannot be opened: File exists"), RunLog(path):
        pass


def test_a_full_disk_leaves_whole_records_only(tmp_path: Path) -> None:
    """An append that does not fit leaves nothing of itself behind (a limit on the file's size stands for the disk)."""
    path = tmp_path / "run.log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunLog(path) as log:
        log.append("run", LOG_VERSION, "run-1", b"{}")
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
        try:
            with pytest.raises(RunLogError, match="cannot be written"):
                log.append("delta", "a", 7, 1, 1, delta(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.append("delta", "a", 7, 1, 1, delta(2))
    back = replay(path)
    assert (back.seqs, started(back.merged), back.torn_bytes) == ({("a", 7): 1}, 2, 0)


def test_the_quota_of_a_log_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    """A log cannot grow without bound."""
    path = tmp_path / "run.log"
    with RunLog(path, bytes_max=100) as log, pytest.raises(RunLogError, match="limit of 100 bytes"):
        for seq in range(1, 100):
            log.append("delta", "a", 7, seq, seq, delta(1))
    assert path.stat().st_size <= 100
