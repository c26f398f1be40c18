"""`loadproof relay`: stands between a controller and many agents, and merges what they measure."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Annotated

import typer

from loadproof_cli.commands.agent import problem_of, token_text
from loadproof_cli.console import console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.loops import fast_loop
from loadproof_cli.remote import checked_address

EXAMPLES = """[bold]Examples[/]

loadproof token create --role relay --name eu                                at the controller; prints the relay's token

loadproof relay --join lp1... load.example.com:7443                          listens at port 7445 of this machine

loadproof relay --join-file /etc/loadproof/relay load.example.com:7443 --listen 10.0.0.7:7445

loadproof agent --join lp1... load.example.com:7443 --relay 10.0.0.7:7445    an agent behind it, with an agent's token
"""


def relay(
    context: typer.Context,
    controller: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The controller.")],
    join: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="A token of the role relay; - reads it from standard input.")
    ] = None,
    join_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file with the token.")] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where agents attach; port 0 takes any free one.")
    ] = "0.0.0.0:7445",  # for agents on other machines; each must show a certificate of the controller
    name: Annotated[str | None, typer.Option(help="The relay's name.", show_default="this machine's")] = None,
) -> int:
    """Merge the reports of many agents for one controller, and pass everything else on, over every outage.

    Agents join at the controller and attach here, with `--relay`. What a relay has not brought to the controller is
    never acked, so that it may crash, restart or lose its agents to another at any moment.
    """
    from loadproof.trust import TrustError, parse_token, split_address
    from loadproof_agent.errors import AgentError
    from loadproof_agent.relay.process import RelayOptions, run_relay
    from loadproof_cli.service_log import log_to

    console = console_of(context)
    checked_address(controller)
    try:
        split_address(listen)
        token = parse_token(token_text(console, join, join_file))
    except TrustError as error:
        raise UsageProblem(f"{error.text}.") from error
    log_to(console.stderr)
    options = RelayOptions(controller, token, name or f"{socket.gethostname()}-relay", listen)
    try:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            runner.run(run_relay(options))
    except AgentError as error:
        raise problem_of(error) from error
    return ExitCode.OK
