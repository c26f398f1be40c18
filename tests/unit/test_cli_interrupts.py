"""Signals become one KeyboardInterrupt, whatever the code that they arrive in makes of it."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path

import pytest

from loadproof_cli.console import STOPPING, Console


@pytest.fixture
def console() -> Console:
    """Return a console of no terminal."""
    return Console((), {}, Path("/"), io.StringIO(), io.StringIO())


@pytest.fixture(autouse=True)
def handlers_are_left_as_they_were():
    """No test may leave a handler behind."""
    before = [signal.getsignal(number) for number in STOPPING]
    yield
    assert [signal.getsignal(number) for number in STOPPING] == before


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
