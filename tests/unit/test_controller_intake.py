"""What a run takes in: deltas of a burst read together, events of workers noted once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from controller_runs import open_plan, request_for
from loadproof.metrics import CodecError, decode_block, encode_delta
from loadproof_controller import intake
from loadproof_controller import messages as m
from loadproof_controller.fleet import Fleet
from loadproof_controller.intake import Reader
from loadproof_controller.resuming import read_past, save
from loadproof_controller.runlog import LOG_NAME, LOG_VERSION, RunLog
from loadproof_controller.runner import Runner
from metrics_samples import recorded


def test_a_wrong_delta_of_a_burst_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that came with it are read as if it were not there, together or alone."""
    good = [encode_delta(recorded(seed)) for seed in range(3)]
    alone = [decode_block(delta).delta() for delta in good]
    monkeypatch.setattr(intake, "TOGETHER_BYTES_MAX", 2 * len(good[0]))
    reader = Reader()
    reader.expect([*good, b"rubbish"])
    assert [reader.block(delta).delta() for delta in good] == alone
    with pytest.raises(CodecError):
        reader.block(b"rubbish")


def test_what_was_announced_and_not_asked_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta is known by the very bytes, and only until the next burst: memory is that of one burst."""
    one, two = (encode_delta(recorded(seed)) for seed in (1, 2))
    reader = Reader()
    reader.expect([one, two])
    monkeypatch.setattr(intake, "decode_block", lambda _delta: "read alone")
    assert reader.block(one).delta() == decode_block(one).delta()
    assert reader.block(one) == "read alone"
    reader.expect([])
    assert reader.block(two) == "read alone"


def test_a_worker_event_said_again_after_a_restart_is_noted_once(tmp_path: Path) -> None:
    """Agents repeat their last events on each new stream; the number that tells them apart is in the log."""
    request = request_for(open_plan(), tmp_path)
    event = m.WorkerEvent(request.run_id, 0, "crashed", "killed by signal 9", number=1)
    runner = Runner(request, Fleet(), unix=False)
    with RunLog(tmp_path / LOG_NAME) as log:
        log.append("run", LOG_VERSION, request.run_id, b"{}")
        log.append("request", save(request, unix=False, began_ns=1, began_at="2026-01-01T00:00:00+00:00"))
        runner._log = log
        for epoch in (7, 8):
            runner._hear_worker_event("a", epoch, event)
    again = Runner.resumed(read_past(tmp_path), Fleet())
    runner._log = None
    for epoch in (7, 8):
        again._hear_worker_event("a", epoch, event)
        again._hear_worker_event("a", epoch, dataclasses.replace(event, number=2))
    assert [noted.kind for noted in again.events.noted] == ["worker_crashed"] * 4
