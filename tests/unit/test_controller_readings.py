"""What a run takes from the heartbeats of its agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from controller_runs import open_plan, request_for
from loadproof_controller import messages as m
from loadproof_controller.fleet import Fleet
from loadproof_controller.machine.members import Member
from loadproof_controller.relays import messages as rm
from loadproof_controller.runner import Runner


def test_what_comes_late_of_the_run_before_is_no_reading_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat waits in its relay for seconds: when an agent began another run is not when it began this one."""
    request = request_for(open_plan(), tmp_path)
    runner = Runner(request, Fleet(), unix=False)
    monkeypatch.setattr(runner, "_clock_of", lambda _agent_id: (0, 4))
    runner.machine.members |= {name: Member(name, 1, 1, 1, local=False) for name in "ab"}
    for run_id, began_ns in (("before", 10), (request.run_id, 80)):
        worker = m.WorkerReading(0, 1, 0, 1, 1_000 - began_ns, 5, began_ns)
        runner._hear("a", 1, m.Heartbeat(run_id, 90, (worker,)))
        relay = rm.ChildBeat("b", 1, run_id, 90, 1, 1_000 - began_ns, 5, began_ns)
        runner.heard_beats(cast("Any", None), [relay])
        assert {member.heartbeat_clock_ns for member in runner.machine.members.values()} == {90}
    for name in "ab":
        book = runner.books[name, 1]
        assert (book.began_ns, book.cpu_permille_max) == (80, 920)
