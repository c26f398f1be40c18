"""Signals become one KeyboardInterrupt, whatever the code that they arrive in makes of it."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path

import pytest

import loadproof_cli.main as cli_main
import stored_runs
from loadproof_cli import run_locally
from loadproof_cli.console import STOPPING, Console
from shop_cli import loadproof, loadproof_here, write_suite

SUITE_OF_SIGNAL = "import signal\nsignal.raise_signal(signal.{})\n"


@pytest.fixture
def console() -> Console:
    """Return a console of no terminal."""
    return Console((), {}, Path("/"), io.StringIO(), io.StringIO())


@pytest.fixture(autouse=True)
def handlers_are_left_as_they_were():
    """No test may leave a handler behind, and a signal that nobody took fails only its test."""

    def nobody_took(number: int, _frame: object) -> None:
        raise AssertionError(f"signal {number} was not taken")

    before = [signal.signal(number, nobody_took) for number in STOPPING]
    yield
    left = [signal.signal(number, known) for number, known in zip(STOPPING, before, strict=True)]
    assert left == [nobody_took] * len(STOPPING)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_interrupts(console, number) -> None:
    """Ctrl+C and SIGTERM are the same."""
    with pytest.raises(KeyboardInterrupt), console.interruptible():
        signal.raise_signal(number)


@pytest.mark.parametrize("number", STOPPING)
def test_an_error_made_of_the_interrupt_is_an_interrupt(console, number) -> None:
    """A library that wraps what happens inside of it, as pydantic does while it builds validators, hides nothing."""
    with pytest.raises(KeyboardInterrupt), console.interruptible():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            raise ValueError("cannot build") from error


@pytest.mark.parametrize("number", STOPPING)
def test_a_swallowed_interrupt_is_found_by_the_check(console, number) -> None:
    """A library that goes on after the signal does not keep the command going."""
    checked = []
    with pytest.raises(KeyboardInterrupt), console.interruptible() as check:
        check()
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            checked.append("swallowed")
        check()
        checked.append("went on")
    assert checked == ["swallowed"]


def test_an_error_without_a_signal_stays_what_it_is(console) -> None:
    """Only a signal makes an interrupt."""
    with pytest.raises(ValueError, match="broken"), console.interruptible():
        raise ValueError("broken")


@pytest.mark.parametrize("number", STOPPING)
def test_what_must_not_be_interrupted_only_hears_of_it(console, number) -> None:
    """Signals call the handler, and the work goes on."""
    heard = []
    with console.undisturbed(lambda: heard.append("asked")):
        signal.raise_signal(number)
        signal.raise_signal(number)
        heard.append("done")
    assert heard == ["asked", "asked", "done"]


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("command", ["check", "try", "run"])
def test_a_signal_while_a_suite_is_imported_is_an_interrupt(
    tmp_path: Path, command: str, number: signal.Signals
) -> None:
    """Before there is a loop, too, Ctrl+C and SIGTERM end a command with the code of a person's stop and a word."""
    write_suite(tmp_path / "suite", toml="[profiles.p]\n", suite=SUITE_OF_SIGNAL.format(number.name))
    done = loadproof_here(command, "suite", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (4, "", "interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["suite"]


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_while_the_command_itself_is_imported_is_an_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    """The first import takes the longest; no signal in it leaves with a code of Python's or of the system's."""
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text(SUITE_OF_SIGNAL.format(number.name), encoding="utf-8")
    done = loadproof("check", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (done.code, done.out, done.err) == (4, "", "interrupted\n")


@pytest.mark.parametrize("number", STOPPING)
def test_a_trial_that_is_interrupted_tears_down(tmp_path: Path, number: signal.Signals) -> None:
    """A signal in the middle of `try` ends the transaction, and the teardown still runs."""
    suite = (
        "import asyncio, pathlib, signal\nfrom loadproof import Suite\nsuite = Suite('S')\n"
        "@suite.teardown\nasync def down(run, shared):\n    pathlib.Path(__file__).with_name('down').touch()\n"
        f"@suite.transaction('T')\nasync def t(user):\n    signal.raise_signal({int(number)})\n"
        "    await asyncio.Event().wait()\n"
    )
    write_suite(tmp_path, toml='[profiles.p]\narrivals = [{ rate = "1/s", for = "1s" }]\n', suite=suite)
    done = loadproof_here("try", cwd=tmp_path)
    assert (done.code, done.err) == (4, "interrupted\n")
    assert (tmp_path / "down").exists()


def test_ctrl_c_works_where_a_shell_had_it_ignored(console) -> None:
    """A shell without job control starts what is in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), console.terminable():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_that_a_library_made_of_an_interrupt_is_no_internal_error(console, monkeypatch) -> None:
    """As pydantic does where Ctrl+C comes while it builds validators."""

    def wrap(_console: Console) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise ValueError("cannot build") from error
        return 0

    monkeypatch.setattr(cli_main, "_dispatch", wrap)
    assert cli_main.main(console) == 4
    assert console.stderr.getvalue() == "interrupted\n"


@pytest.mark.parametrize("number", STOPPING)
def test_a_report_is_written_to_its_end(tmp_path: Path, monkeypatch, number: signal.Signals) -> None:
    """Impatience after the load costs no file: the signal is answered with a word, and the verdict stays.

    Also while the run is judged.
    """
    written, build_result = tmp_path / "out", run_locally.build_result

    def judged(*arguments: object) -> object:
        signal.raise_signal(number)
        return build_result(*arguments)

    def write_outputs(*arguments: object, **_options: object) -> None:
        signal.raise_signal(number)
        written.touch()

    monkeypatch.setattr(run_locally, "build_result", judged)
    monkeypatch.setattr(run_locally, "write_outputs", write_outputs)
    monkeypatch.setattr(run_locally.keeping, "record", lambda *_arguments: None)
    out, err = io.StringIO(), io.StringIO()
    world = Console((), {}, tmp_path, out, err)
    keeping = run_locally.Keeping(None, record=False)
    wanted = run_locally.LocalRun(
        "r", None, "p", 1, 1, written, None, None, "continue", keeping, frozenset({"no-go", "not-proven"})
    )
    with world.terminable():
        run_locally._conclude(world, wanted, stored_runs.run_of("healthy"))
    assert written.exists()
    assert "a moment" in err.getvalue()
    assert "Verdict" in out.getvalue()


@pytest.mark.parametrize("number", STOPPING)
def test_a_loop_gives_the_handlers_back(console, number) -> None:
    """After a run in a loop, a signal is again what it was around it: what was created is removed."""

    async def work() -> None:
        heard = asyncio.Event()
        with console.interrupts(heard.set):
            signal.raise_signal(number)
            await heard.wait()

    with pytest.raises(KeyboardInterrupt), console.interruptible():
        asyncio.run(work())
        signal.raise_signal(number)
