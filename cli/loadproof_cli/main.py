"""The way into the command: `entry` for the console script, `main` for tests. Every way out is a documented code."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, NoReturn

from loadproof_cli.errors import CliError
from loadproof_cli.exitcodes import ExitCode

if TYPE_CHECKING:
    from loadproof_cli.console import Console

TYPER_INTERRUPTED = 130
"""The exit code that Typer makes of a KeyboardInterrupt in a command."""


def entry() -> NoReturn:
    """Run the command for this process and leave with its exit code."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # until `main` takes it
    try:
        from loadproof_cli.console import Console

        console = Console.from_process()
    except KeyboardInterrupt:
        _leave("interrupted", ExitCode.ABORTED_BY_PERSON)
    except FileNotFoundError:
        _leave("the working folder is gone; change to another one.", ExitCode.USAGE)
    code = main(console)
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    console.flush()
    sys.exit(code)


def _leave(text: str, code: int) -> NoReturn:
    """Say why, where there is somebody to hear it, and leave."""
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
    sys.exit(code)


def main(console: Console) -> int:
    """Run one command and return its exit code. Nothing but what asks to leave Python gets past it."""
    if console.platform == "win32":
        console.say("loadproof runs on Linux and macOS; on Windows, use it inside WSL or a Linux container.")
        return ExitCode.USAGE
    try:
        with console.terminable(), console.closing:
            return _dispatch(console)
    except CliError as error:
        console.say(error.text)
        if error.hint:
            console.say(error.hint)
        return error.exit_code
    except (KeyboardInterrupt, EOFError):
        console.say("interrupted")
        return ExitCode.ABORTED_BY_PERSON
    except BrokenPipeError:
        return ExitCode.OK
    except Exception as error:
        if _made_of_interrupt(error):
            console.say("interrupted")
            return ExitCode.ABORTED_BY_PERSON
        return _internal(console, error)


def _dispatch(console: Console) -> int:
    import typer

    from loadproof.config import ConfigErrors
    from loadproof_cli.app import app

    try:
        code = app(args=list(console.argv), prog_name="loadproof", obj=console, standalone_mode=False)
    except typer.TyperException as error:
        text = _usage_text(error)
        if text:
            console.say(text)
        return ExitCode.USAGE
    except typer.Abort:
        console.say("interrupted")
        return ExitCode.ABORTED_BY_PERSON
    except ConfigErrors as errors:
        for problem in errors.problems:
            console.say(console.shortened(str(problem)))
        n = len(errors.problems)
        console.say(f"{n} problem{'s' if n != 1 else ''} found; nothing was started.")
        return ExitCode.USAGE
    if code == TYPER_INTERRUPTED:
        raise KeyboardInterrupt
    return int(code) if isinstance(code, int) else ExitCode.OK


def _made_of_interrupt(error: BaseException | None) -> bool:
    """Whether a library made this error of a KeyboardInterrupt, as pydantic does while it builds validators."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error is not None


def _usage_text(error: Exception) -> str:
    """Return a usage error in one line, with the way to help; empty where the help itself was printed."""
    from loadproof_cli.words import sentence

    message = getattr(error, "format_message", lambda: str(error))()
    if not message:
        return ""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "loadproof"
    return f"{sentence(message)} See `{where} --help`."


def _internal(console: Console, error: Exception) -> int:
    """Say in one line that this is our fault, and keep the traceback for a report of it."""
    descriptor, path = tempfile.mkstemp(prefix="loadproof-traceback-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    summary = " ".join(str(error).split())[:200]
    console.say(f"internal error: {type(error).__name__}: {summary} (traceback in {path})")
    return ExitCode.INFRASTRUCTURE
