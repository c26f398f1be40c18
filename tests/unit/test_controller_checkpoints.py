"""Checkpoints of a run's log: it stays small, and whatever the moment of a crash, what was acked is there."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadproof.metrics import Delta, MergedState, SeriesKey, counts_from_samples, decode_block, encode_delta
from loadproof.metrics import totals as totals_module
from loadproof_controller import checkpointing
from loadproof_controller.checkpointing import Checkpoints
from loadproof_controller.errors import RunLogError
from loadproof_controller.runlog import LOG_NAME, disk, folder, frames, has_log, replay
from loadproof_controller.runlog import checkpoint as checkpoint_module
from loadproof_controller.runlog.checkpoint import CheckpointWriter
from logged_runs import EPOCH, LoggedRun, delta_at, play, said, script


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process leaves its writes to the kernel: no need to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _file: None)


SCRIPT = list(script(6, 2))
CHANGES = ("create", "write", "cut", "rename", "remove", "sync_folder")


class Killed(BaseException):
    """The process is gone."""


def play_all(place: Path) -> LoggedRun:
    """Play the whole script without a crash."""
    place.mkdir()
    with (run := LoggedRun(place)).log:
        run.begin()
        for step in SCRIPT:
            play(run, step)
    return run


def killed_at(count: int, *, half: bool, patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let the `count`-th change on the disk be the last; of a write half is done where `half`. Returns a counter."""
    done = 0

    def counting(name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            done += 1
            if done == count:
                if name == "write" and half:
                    change(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise Killed
            return change(*arguments, **named)

        return changed

    for name in CHANGES:
        patch.setattr(disk, name, counting(name, getattr(disk, name)))
    return lambda: done


@pytest.mark.parametrize("half", [False, True])
def test_whatever_the_moment_of_the_kill_what_was_acked_is_there_and_the_run_goes_on_alike(
    tmp_path: Path, half: bool
) -> None:
    """Killed before or in the middle of each single change on the disk, resumed, ended: every number is the same."""
    straight = said(play_all(tmp_path / "straight"))
    with pytest.MonkeyPatch.context() as patch:
        changes = killed_at(0, half=False, patch=patch)
        play_all(tmp_path / "counted")
    assert changes() > 90
    for count in range(1, changes() + 1):
        place = tmp_path / f"killed-{count}"
        place.mkdir()
        run, begun = LoggedRun(place), False
        with pytest.MonkeyPatch.context() as patch:
            killed_at(count, half=half, patch=patch)
            with pytest.raises(Killed), run.log:
                run.begin()
                begun = True
                for step in SCRIPT:
                    play(run, step)
        if not begun:
            continue  # nobody was told anything of this run
        back = replay(place / LOG_NAME)
        assert all(back.seqs.get(name, 0) >= seq for name, seq in run.acked.items()), f"killed at change {count}"
        with (again := LoggedRun(place, back)).log:
            for step in SCRIPT:
                play(again, step)
        assert said(again) == straight, f"killed at change {count}"
        assert said(replay(place / LOG_NAME)) == straight, f"killed at change {count}, read again"
        shutil.rmtree(place)


def test_removing_segments_before_the_checkpoint_is_there_would_be_noticed(tmp_path: Path) -> None:
    """The check above bites: with the order turned round some kill loses what was acked."""
    tidy, write = CheckpointWriter._tidy, CheckpointWriter.write

    def too_early(self: CheckpointWriter, number: int, *rest: Any) -> Any:
        for sealed in folder.numbers(self._place, "log"):
            disk.remove(folder.segment(self._place, sealed))
        return write(self, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "write", too_early)
        with pytest.raises(AssertionError, match="killed at change"):
            test_whatever_the_moment_of_the_kill_what_was_acked_is_there_and_the_run_goes_on_alike(tmp_path, half=False)
    assert tidy is CheckpointWriter._tidy


def test_a_damaged_checkpoint_is_replaced_by_the_one_before_it(tmp_path: Path) -> None:
    """One flipped byte anywhere in the newest one costs nothing: the older one and its segments say the same."""
    straight = said(play_all(place := tmp_path / "run"))
    newest = folder.checkpoint(place, 3)
    data = newest.read_bytes()
    for position in range(0, len(data), len(data) // 25):
        newest.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        back = replay(place / LOG_NAME)
        assert (back.checkpoint.number, said(back)) == (2, straight)
    newest.write_bytes(data[:-1])
    with (run := LoggedRun.resumed(place)).log:
        run.hear("a", delta_at(6, 1))
        run.checkpoint()
        run.hear("a", delta_at(7, 1))
    back = replay(place / LOG_NAME)
    assert (back.checkpoint.number, back.seqs["a", EPOCH]) == (4, 8)
    assert folder.numbers(place, "checkpoint") == [2, 4]


def test_a_damaged_history_counts_as_a_damaged_checkpoint(tmp_path: Path) -> None:
    """What the newest appended may be spoilt; what the one before it had still stands."""
    straight = said(play_all(place := tmp_path / "run"))
    (number,) = folder.numbers(place, "history")
    path = folder.history(place, number)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    back = replay(place / LOG_NAME)
    assert (back.checkpoint.number, said(back)) == (2, straight)


def test_without_any_whole_checkpoint_the_log_says_what_is_missing(tmp_path: Path) -> None:
    """Never half a run taken for a whole one."""
    play_all(place := tmp_path / "run")
    for number in folder.numbers(place, "checkpoint"):
        folder.checkpoint(place, number).write_bytes(b"nothing")
    with pytest.raises(RunLogError, match="checkpoint 3 is damaged, and segment 1 is not there any more"):
        replay(place / LOG_NAME)
    folder.segment(place, 3).unlink()
    with pytest.raises(RunLogError, match=r"checkpoint 3 is damaged$"):
        replay(place / LOG_NAME)
    assert has_log(place)


def test_a_damaged_segment_ends_the_log_and_what_follows_it_is_put_away(tmp_path: Path) -> None:
    """As with a single file: everything before the damage counts, nothing after, and the run can go on from there."""
    play_all(place := tmp_path / "run")
    folder.checkpoint(place, 3).unlink()
    segment = folder.segment(place, 3)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    back = replay(place / LOG_NAME)
    assert 8 <= sum(back.seqs.values()) < 12
    assert back.torn_bytes > len(data) // 3
    with (run := LoggedRun(place, back)).log:
        for step in SCRIPT:
            play(run, step)
    assert said(replay(place / LOG_NAME)) == said(run)


def test_the_log_of_a_run_of_hours_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten virtual hours: at most two histories of twice the state and a bit, two checkpoints, three segments."""
    monkeypatch.setattr(checkpoint_module, "HISTORY_SLACK_BYTES", 50_000)
    sizes, largest, histories = [], 0, set()
    with (run := LoggedRun(tmp_path)).log:
        run.begin()
        for second in range(0, 36_000, 300):
            for later in range(0, 300, 60):
                run.hear("ab"[later // 60 % 2], delta_at(second + later, later))
            run.checkpoint()
            files = {path: path.stat().st_size for path in tmp_path.iterdir()}
            sizes.append(sum(files.values()))
            largest = max(largest, *(size for path, size in files.items() if path.suffix == ".log"))
            histories.update(path for path in files if path.suffix == ".history")
            assert len(files) <= 2 * 2 + 3, sorted(path.name for path in files)
    whole = sum(len(row) + 40 for row in checkpoint_module.save_rows(run.merged, whole=True))
    newest = folder.checkpoint(tmp_path, 120).stat().st_size
    assert max(sizes) < 2 * (2 * whole + 50_000) + 2 * newest + 3 * largest
    assert (run.merged.seconds_width_s, len(histories) > 4) == (16, True)
    assert said(replay(tmp_path / LOG_NAME)) == said(run)


async def test_what_comes_while_a_checkpoint_is_made_is_logged_and_merged_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is lent while bytes are made of it: nothing changes it, nothing is lost, nothing counts twice."""
    inside, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    save = checkpoint_module.save_totals

    def slow(state: MergedState) -> Any:
        loop.call_soon_threadsafe(inside.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)
        return save(state)

    monkeypatch.setattr(checkpoint_module, "save_totals", slow)
    monkeypatch.setattr(checkpointing, "CHECKPOINT_NS", 100)
    with (run := LoggedRun(tmp_path)).log:
        run.begin()
        run.hear("a", delta_at(0, 1))
        now = [0]
        checkpoints = Checkpoints(tmp_path, lambda: now[0])
        due_at_once, now[0] = checkpoints.due, 100
        assert (due_at_once, checkpoints.due) == (False, True)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(checkpoints.take(run.log, run.merged, run.books))
            await inside.wait()
            assert (checkpoints.due, checkpoints.must_wait(1, 1)) == (False, True)
            assert not checkpoints.must_wait(10_000, 10_000)
            assert not checkpoints.must_wait(8, 8 * 8 * 1024 * 1024)
            run.log.append("delta", "b", EPOCH, 1, 1, delta_at(1, 2))
            now[0] = 110
            go_on.set()
        assert not checkpoints.must_wait(1, 1)
        now[0] = 309  # ten units were spent: not again before two hundred
        due_before, now[0] = checkpoints.due, 310
        assert (due_before, checkpoints.due) == (False, True)
    back = replay(tmp_path / LOG_NAME)
    assert (back.checkpoint.number, back.records, back.merged.deltas) == (1, 2, 2)
    assert back.seqs == {("a", EPOCH): 1, ("b", EPOCH): 1}


def test_what_is_too_large_for_a_frame_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Books of agents with 40,000 long names take over 16 MiB, as events of a bad day may: it is written still."""
    monkeypatch.setattr(checkpoint_module, "PIECE_BYTES_MAX", 400)
    monkeypatch.setattr(frames, "PAYLOAD_BYTES_MAX", 900)
    with (run := LoggedRun(tmp_path)).log:
        run.begin()
        for number in range(3):
            run.hear("a", delta_at(number, 1))
            run.log.append("event", number, "note", f"{number}" * 500, "a")
        run.checkpoint()
    assert len(run.log.facts.pack()) > 900
    back = replay(tmp_path / LOG_NAME)
    assert back.checkpoint is not None
    assert said(back) == said(run)


def test_after_a_checkpoint_that_failed_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs a checkpoint, not the log: segments stay until one succeeds."""
    with (run := LoggedRun(tmp_path)).log:
        run.begin()
        for second in range(3):
            run.hear("a", delta_at(second, second))
            run.checkpoint()
        run.hear("a", delta_at(3, 3))
        with monkeypatch.context() as patch:
            patch.setattr(disk, "rename", rename_but_no_checkpoint)
            with pytest.raises(OSError, match="No space"):
                run.checkpoint()
        assert said(replay(tmp_path / LOG_NAME)) == said(run)
        run.hear("b", delta_at(4, 4))
        run.checkpoint()
        assert folder.numbers(tmp_path, "checkpoint") == [3, 5]
    assert said(replay(tmp_path / LOG_NAME)) == said(run)


def rename_but_no_checkpoint(old: Path, new: Path) -> None:
    """Refuse to give a checkpoint its name."""
    if new.suffix == ".checkpoint":
        raise OSError(28, "No space left on device")
    old.replace(new)


def test_an_agent_that_makes_up_names_spoils_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its totals are kept for as many series as a Final may have and no more: what is written can be read again."""
    monkeypatch.setattr(totals_module, "SERIES_MAX", 20)
    with (run := LoggedRun(tmp_path)).log:
        run.begin()
        run.hear("a", delta_at(0, 1))
        book = run.books["a", EPOCH]
        counts = counts_from_samples(np.array([900]))
        for number in range(30):
            keys = [SeriesKey("Search", "", f"{number}-{one}", "load", "ok", "service") for one in range(3)]
            book.took(decode_block(encode_delta(Delta(series=dict.fromkeys(keys, counts)))))
        run.checkpoint()
    back = replay(tmp_path / LOG_NAME)
    assert back.checkpoint is not None
    assert back.books["a", EPOCH].totals == book.totals
    assert len(book.totals) == 20
