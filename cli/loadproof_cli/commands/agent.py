"""`loadproof agent`: this machine's part of a fleet."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadproof_cli.console import Console, console_of
from loadproof_cli.doctor.advice import warnings_before
from loadproof_cli.errors import CliError, InfrastructureProblem, UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.loops import fast_loop
from loadproof_cli.remote import checked_address, labels_of
from loadproof_cli.words import sentence

if TYPE_CHECKING:
    from loadproof_agent.errors import AgentError

EXAMPLES = """[bold]Examples[/]

loadproof agent --join lp1... load.example.com:7443                  as the controller printed it

LOADPROOF_JOIN=lp1... loadproof agent load.example.com:7443          the token in no process list

loadproof agent --join-file /etc/loadproof/join load.example.com:7443 --label region=eu --workers 4

loadproof agent load.example.com:7443 --relay r1.example.com:7445 --relay r2.example.com:7445
"""

JOIN_VARIABLE = "LOADPROOF_JOIN"
TOKEN_BYTES_MAX = 4_096
WORKERS_MAX = 256


def agent(
    context: typer.Context,
    controller: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The controller.")],
    join: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The join token; - reads it from standard input.")
    ] = None,
    join_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file with the join token.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=WORKERS_MAX, help="Worker processes.", show_default="cores")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="What runs can ask for; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The agent's name.", show_default="this machine's")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep suites and packages here.", show_default="as long as the agent lives"),
    ] = None,
    allow_requirements: Annotated[
        bool, typer.Option("--allow-requirements", help="Install the packages that suites' lock files name.")
    ] = False,
    relay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="Attach at this relay; may be repeated: a stream that ends leads to the next one."
        ),
    ] = None,
    job: Annotated[
        bool, typer.Option("--job", help="As a pod of a Job: SIGTERM leaves at once with exit code 5, to be replaced.")
    ] = False,
) -> int:
    """Attach this machine to a controller and stay, over every outage. SIGTERM lets a run end first; twice leaves."""
    from loadproof.trust import TrustError, parse_token
    from loadproof_agent.attached import AttachOptions

    console = console_of(context)
    for address in (controller, *(relay or ())):
        checked_address(address)
    try:
        token = parse_token(token_text(console, join, join_file))
    except TrustError as error:
        raise UsageProblem(f"{error.text}.") from error
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options = AttachOptions(
        address=controller,
        token=token,
        name=name or socket.gethostname(),
        workers=workers or cores,
        labels=labels_of(label),
        cache_dir=console.resolve(cache) if cache is not None else None,
        allow_requirements=allow_requirements,
        stay=not job,
        relays=tuple(relay or ()),
    )
    return _attach(console, options)


def token_text(console: Console, join: str | None, join_file: Path | None) -> str:
    """Return the text of the join token, from wherever it was given."""
    given = [what for what in (join, join_file) if what is not None]
    if len(given) > 1:
        raise UsageProblem("--join and --join-file both name a token; one is enough.")
    if join == "-":
        return sys.stdin.readline(TOKEN_BYTES_MAX)
    if join is not None:
        return join
    if join_file is not None:
        try:
            with console.resolve(join_file).open("rb") as stream:
                return stream.read(TOKEN_BYTES_MAX).decode("utf-8", "replace")
        except OSError as error:
            raise UsageProblem(f"--join-file {join_file}: {(error.strerror or str(error)).lower()}.") from error
    text = console.environ.get(JOIN_VARIABLE, "")
    if not text:
        raise UsageProblem(
            f"an agent joins with a token: --join, --join-file, {JOIN_VARIABLE} or, from standard input, --join -.",
            hint="the controller prints it when it starts.",
        )
    return text


def _attach(console: Console, options: object) -> int:
    from loadproof_agent.attached import AttachOptions, run_attached
    from loadproof_agent.errors import AgentError
    from loadproof_cli.service_log import log_to

    assert isinstance(options, AttachOptions)
    log_to(console.stderr)
    for warning in warnings_before(console.machine()):
        logging.getLogger("loadproof_cli.doctor").warning("%s", warning)
    try:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            runner.run(run_attached(options))
    except AgentError as error:
        raise problem_of(error) from error
    if not options.stay:
        raise InfrastructureProblem("the agent was told to leave; its Job replaces it.")
    return ExitCode.OK


def problem_of(error: AgentError) -> CliError:
    """Return how an agent's or a relay's error ends the command."""
    from loadproof_agent.errors import EXIT_USAGE
    from loadproof_cli.service_log import one_line

    kind: type[CliError] = UsageProblem if error.exit_code == EXIT_USAGE else InfrastructureProblem
    return kind(sentence(one_line(error.text)))
