"""Bad user code is contained in its worker, classified, named with its step, and spoils no later run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fault_scene import Scene, fault_scene, ran_twice

pytestmark = pytest.mark.timeout(300)

HEAD = """
import asyncio, ctypes, os, signal, sys
from loadproof import Suite

suite = Suite("Faulty", base_url="${TARGET}")
turns = 0
"""
BODY = """

@suite.transaction("Browse")
async def browse(user):
    async with user.step("Open"):
        (await user.http.get("/item")).check(status=200)


@suite.transaction("Sin")
async def sin(user):
    global turns
    async with user.step("Fall"):
        (await user.http.get("/item")).check(status=200)
        turns += 1
        if turns == 5:
            {sin}
"""
NS_PER_S = 1_000_000_000
CASES = (
    ("os._exit(3)", "exited", "ended by itself with status 3"),
    ("os._exit(0)", "exited", "ended by itself with status 0"),
    ("ctypes.string_at(0)", "crashed", "crashed with SIGSEGV in suite.py, line 22"),
    ("os.abort()", "crashed", "crashed with SIGABRT in suite.py, line 22"),
    ("while True: pass", "blocked", "its loop gave no sign of life for"),
    ("while True: turns = [turns, bytearray(1 << 20)]", "memory", "MiB are allowed; killed"),
)


async def healthy_again(scene: Scene) -> None:
    """Run a good suite on the same fleet: everything is exact."""
    outcome = await scene.run(seconds=1)
    assert outcome.requests() == outcome.completed == len(scene.target.got) == 60
    assert outcome.result.evidence.sound
    assert not [event for event in outcome.data.events if event.kind.startswith("worker_")]


async def test_a_worker_that_user_code_ends_is_named_and_replaced(tmp_path: Path) -> None:
    """Whatever ends a worker is classified, named with transaction and step, and costs only what only it knew.

    One run after the other on the same agent: each shows that the one before it has left nothing behind.
    """
    limits = {"blocked_ns": 2 * NS_PER_S, "worker_memory_bytes_max": 400 << 20}
    async with fault_scene(tmp_path, "a1", **limits) as scene:
        for sin, kind, text in CASES:
            outcome = await scene.run(seconds=2, suite=HEAD + BODY.format(sin=sin))
            assert outcome.requests() <= len(scene.target.got), sin
            assert not ran_twice(scene), sin
            assert not outcome.events("final_mismatch"), sin
            assert outcome.balanced(), sin
            event = next(event for event in outcome.data.events if event.kind == f"worker_{kind}")
            assert text in event.text
            assert (event.data["transaction"], event.data["step"]) == ("Sin", "Fall"), sin
            finding = outcome.finding("worker_lost")
            assert "in Sin, step Fall, first on agent a1 at 0:0" in finding
            assert text in finding
            assert outcome.code == 3
        await healthy_again(scene)


SPAWNING = """
import asyncio, multiprocessing, os, sys
from loadproof import Suite

suite = Suite("Faulty", base_url="${TARGET}")


def work(answers):
    answers.put(42)


@suite.transaction("Browse")
async def browse(user):
    async with user.step("Open"):
        (await user.http.get("/item")).check(status=200)
        if not hasattr(user.state, "forked"):
            user.state.forked = True
            {how}
        (await user.http.get("/after")).check(status=200)
"""
FORKS = {
    "os.fork": "os.fork()",
    "multiprocessing": """
            answers = multiprocessing.get_context("fork").Queue()
            child = multiprocessing.get_context("fork").Process(target=work, args=(answers,))
            child.start()
            user.check("the child answers", answers.get(timeout=5) == 42)
            child.join()
""",
}


@pytest.mark.parametrize("how", FORKS)
@pytest.mark.filterwarnings("ignore")
async def test_a_forked_child_loads_nothing(tmp_path: Path, how: str) -> None:
    """User code that forks gets no second worker with the same schedule: every arrival reaches the target once."""
    async with fault_scene(tmp_path, "a1") as scene:
        outcome = await scene.run(rate="20/s", seconds=2, suite=SPAWNING.replace("{how}", FORKS[how]))
        assert not [event for event in outcome.data.events if event.kind.startswith("worker_")]
        for path in ("/item", "/after"):
            got = [entry for entry in scene.target.got if entry.path == path]
            assert len(got) == outcome.requests(f"GET {path}") == 40
        await healthy_again(scene)
    assert outcome.balanced()
    assert outcome.result.transactions[0].failed == 0


IMPORTS = (
    ("raise RuntimeError('only here')", "suite.import", "RuntimeError: only here"),
    ("sys.exit(3)", "suite.import", "SystemExit: 3"),
    ("os._exit(7)", "worker", "it ended by itself with status 7"),
    ("os.kill(os.getpid(), 11)", "worker", "it crashed with SIGSEGV in suite.py, line 9"),
)
AT_IMPORT = """
import os, sys
from loadproof import Suite

suite = Suite("Faulty", base_url="${TARGET}")


if os.getpid() != {tester}:
    {sin}


@suite.transaction("Browse")
async def browse(user):
    (await user.http.get("/item")).check(status=200)
"""


def at_import(sin: str) -> str:
    """A suite that commits `sin` while it is imported, in every process but this one, where the plan is made of it."""
    return AT_IMPORT.replace("{tester}", str(os.getpid())).replace("{sin}", sin)


async def test_a_suite_that_does_not_import_is_refused_before_any_load(tmp_path: Path) -> None:
    """Whatever goes wrong at import on an agent ends the run before its load, in words; the fleet stays of use."""
    async with fault_scene(tmp_path, "a1") as scene:
        for sin, code, text in IMPORTS:
            outcome = await scene.run(seconds=1, suite=at_import(sin))
            assert not scene.target.got
            assert outcome.data.status == "failed"
            assert outcome.code == 5
            assert f"agent a1 cannot run the suite: {code}: " in outcome.data.abort_reason
            assert text in outcome.data.abort_reason
        await healthy_again(scene)


@pytest.mark.slow
async def test_a_suite_that_imports_for_ever_is_given_up(tmp_path: Path) -> None:
    """An import that does not end is ended, and named, after the limit for preparing."""
    async with fault_scene(tmp_path, "a1", prepare_ns=15 * NS_PER_S) as scene:
        outcome = await scene.run(seconds=1, suite=at_import("while True: pass"))
        assert not scene.target.got
    assert "it did not come to an end of preparing; killed" in outcome.data.abort_reason
    assert outcome.code == 5


async def test_a_worker_without_its_files_is_replaced(tmp_path: Path) -> None:
    """User code that closes every file of its worker takes only that worker with it."""
    async with fault_scene(tmp_path, "a1") as scene:
        outcome = await scene.run(seconds=3, suite=HEAD + BODY.format(sin="os.closerange(3, 256)"))
        assert outcome.requests() <= len(scene.target.got)
        assert not ran_twice(scene)
        await healthy_again(scene)
    assert outcome.balanced()
    assert outcome.events("worker_replaced")
    assert "worker 0 (pid" in outcome.finding("worker_lost")
