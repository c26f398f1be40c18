"""What the commands that talk to a running controller share: its address, the token, and how its refusals end them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from loadproof.trust import Token, TrustError, parse_token, split_address
from loadproof_cli.console import Console
from loadproof_cli.errors import CliError, InfrastructureProblem, UsageProblem
from loadproof_cli.words import sentence

TOKEN_VARIABLE = "LOADPROOF_TOKEN"  # noqa: S105  # a variable's name
CONTROLLER_VARIABLE = "LOADPROOF_CONTROLLER"
TOKEN_BYTES_MAX = 4_096
USAGE_CODES = frozenset({"not_found", "invalid_argument", "address", "token"})
"""Refusals that are about what was asked for: exit code 2. All others are 5."""

ControllerOption = Annotated[
    str | None,
    typer.Option(
        "--controller",
        "-c",
        metavar="HOST:PORT",
        help="The running controller.",
        show_default=f"${CONTROLLER_VARIABLE}",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with the token.",
        show_default=f"${TOKEN_VARIABLE}",
    ),
]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Remote:
    """A controller to run on, and what to ask of its fleet."""

    address: str
    token: Token
    labels: dict[str, str]
    wait_for_agents_s: float = 0.0
    detach: bool = False


def seconds_of(option: str, text: str) -> float:
    """Return a length of time in seconds. Raises UsageProblem."""
    from loadproof.config import parse_duration

    try:
        return parse_duration(text) / 1e9
    except ValueError as error:
        raise UsageProblem(f"{option} {text}: {error}.") from error


def read_token(console: Console, file: Path | None) -> Token:
    """Return the token from its file or the environment; never from argv. Raises UsageProblem."""
    try:
        if file is not None:
            path = console.resolve(file)
            with path.open("rb") as stream:
                return parse_token(stream.read(TOKEN_BYTES_MAX).decode("utf-8", "replace"))
        text = console.environ.get(TOKEN_VARIABLE, "")
        if not text:
            raise UsageProblem(
                f"a controller wants a token: set {TOKEN_VARIABLE}, or name a file with --token-file.",
                hint="the controller keeps one for its own machine in operator.token of its data folder.",
            )
        return parse_token(text)
    except OSError as error:
        raise UsageProblem(f"--token-file {file}: {(error.strerror or str(error)).lower()}.") from error
    except TrustError as error:
        raise UsageProblem(f"{file or TOKEN_VARIABLE}: {error.text}.") from error


def chosen_controller(console: Console, option: str | None) -> str | None:
    """Return the controller's address from the option or the environment, None without any. Raises UsageProblem."""
    address = option if option is not None else console.environ.get(CONTROLLER_VARIABLE) or None
    return checked_address(address) if address is not None else None


def the_controller(console: Console, option: str | None) -> str:
    """Return the controller's address where there has to be one. Raises UsageProblem."""
    address = chosen_controller(console, option)
    if address is None:
        raise UsageProblem(f"which controller? --controller HOST:PORT, or {CONTROLLER_VARIABLE}.")
    return address


def checked_address(address: str) -> str:
    """Return `address` when it is HOST:PORT. Raises UsageProblem."""
    try:
        split_address(address)
    except TrustError as error:
        raise UsageProblem(f"{error.text}.") from error
    return address


def labels_of(texts: list[str] | None) -> dict[str, str]:
    """Return the labels in `name=value` texts. Raises UsageProblem."""
    labels: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value or len(name) > 100 or len(value) > 200:
            raise UsageProblem(f"--label {text}: it takes name=value, for example --label region=eu.")
        labels[name] = value
    return labels


def ask(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run `work`; what a controller refuses ends the command."""
    from loadproof_controller.errors import ClientError

    async def run() -> Result:
        return await work()

    try:
        return asyncio.run(run())
    except ClientError as error:
        raise problem_of(error.code, error.text) from error


def problem_of(code: str, text: str, *more: str) -> CliError:
    """Return the way out for a controller's refusal; `more` is said behind it."""
    line = sentence(text, *more)
    return UsageProblem(line) if code in USAGE_CODES else InfrastructureProblem(line)
