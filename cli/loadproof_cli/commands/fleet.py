"""`loadproof runs`, `stop`, `fleet` and `token`: a running controller's things."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from loadproof_cli.console import console_of
from loadproof_cli.errors import UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.remote import ControllerOption, TokenFileOption, ask, read_token, seconds_of, the_controller
from loadproof_cli.words import count

RUNS_EXAMPLES = """[bold]Examples[/]

loadproof runs -c load.example.com:7443                 the newest runs

loadproof runs RUN -c load.example.com:7443 --out ci    follow that run to its end and fetch its files
"""
STOP_EXAMPLES = """[bold]Examples[/]

loadproof stop 20261123-150405-smoke-3f9a -c load.example.com:7443          what runs may finish

loadproof stop 20261123-150405-smoke-3f9a -c load.example.com:7443 --now    it is cancelled, too
"""
FLEET_EXAMPLES = """[bold]Examples[/]

loadproof fleet -c load.example.com:7443    who is attached, and what takes part in a run
"""
EXAMPLES = """[bold]Examples[/]

loadproof token create --role agent --ttl 24h --agents-max 20 -c load.example.com:7443

loadproof token create --role relay --name eu -c load.example.com:7443

loadproof token list -c load.example.com:7443

loadproof token revoke 1f0c9a2e -c load.example.com:7443
"""
ROLES = ("agent", "relay", "operator", "viewer")

token_app = typer.Typer(help="Tokens of a running controller.", no_args_is_help=True)


def runs(
    context: typer.Context,
    controller: ControllerOption = None,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Follow this run and fetch its files.")] = None,
    token_file: TokenFileOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where files go.", show_default="runs/RUN")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many to list.")] = 20,
) -> int:
    """List a controller's runs; with RUN, follow that one and end as `loadproof run` would have."""
    from loadproof_controller.operations.client import ControllerClient

    console = console_of(context)
    address, token = the_controller(console, controller), read_token(console, token_file)
    if run is not None:
        from loadproof_cli.run_remotely import follow_run

        return follow_run(console, address, token, run, out)

    async def work() -> None:
        async with ControllerClient(address, token) as client:
            entries = await client.runs(limit)
        table = _table("run", "state", "verdict", "suite", "profile", "build", "agents", "submitted", "by")
        for entry in entries:
            table.add_row(
                *(Text(text) for text in (
                    entry.run_id, entry.state, entry.decision.replace("_", " "), entry.suite, entry.profile,
                    entry.build, count(entry.agents_wanted), entry.submitted_at, entry.submitted_by,
                ))
            )  # fmt: skip
        console.result(table if entries else Text("no runs yet"))

    ask(work)
    return ExitCode.OK


def stop(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    controller: ControllerOption = None,
    token_file: TokenFileOption = None,
    now: Annotated[bool, typer.Option("--now", help="Cancel what is in flight, too.")] = False,
) -> int:
    """End a run of a controller early: what runs may finish, and the report is written."""
    from loadproof_controller.operations.client import ControllerClient

    console = console_of(context)
    address, token = the_controller(console, controller), read_token(console, token_file)

    async def work() -> None:
        async with ControllerClient(address, token) as client:
            await client.stop(run, immediate=now)

    ask(work)
    console.line(f"run {run} is told to end{' at once' if now else ''}")
    return ExitCode.OK


def fleet(context: typer.Context, controller: ControllerOption = None, token_file: TokenFileOption = None) -> int:
    """List the agents attached to a controller."""
    from loadproof_controller.operations.client import ControllerClient

    console = console_of(context)
    address, token = the_controller(console, controller), read_token(console, token_file)

    async def work() -> None:
        async with ControllerClient(address, token) as client:
            agents = await client.fleet()
        table = _table("agent", "host", "labels", "cores", "workers", "capacity", "version", "clock", "run")
        for agent in agents:
            labels = " ".join(f"{name}={value}" for name, value in agent.labels.items())
            clock = f"{agent.clock_offset_us / 1000:+.1f} ms ± {agent.clock_uncertainty_us / 1000:.1f}"
            table.add_row(
                *(Text(text) for text in (
                    agent.agent_id, agent.host, labels, count(agent.cores), count(agent.workers),
                    f"{agent.capacity_permille / 1000:.1f}", agent.version, clock, agent.run_id,
                ))
            )  # fmt: skip
        console.result(table if agents else Text("no agents are attached"))

    ask(work)
    return ExitCode.OK


@token_app.command("create", epilog=EXAMPLES)
def create_token(
    context: typer.Context,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")],
    controller: ControllerOption = None,
    name: Annotated[str, typer.Option(help="For whom or what, for lists.")] = "",
    ttl: Annotated[
        str | None, typer.Option(help="How long it is good, for example 24h.", show_default="until revoked")
    ] = None,
    agents_max: Annotated[
        int | None,
        typer.Option(min=1, help="How many agents it lets in at a time.", show_default="all a controller takes"),
    ] = None,
    token_file: TokenFileOption = None,
) -> int:
    """Make a token and print it, once. agent, relay: join. operator: submit, stop, tokens. viewer: look."""
    from loadproof_controller.operations.client import ControllerClient

    console = console_of(context)
    address, token = the_controller(console, controller), read_token(console, token_file)
    if role not in ROLES:
        raise UsageProblem(f"--role {role}: there are {', '.join(ROLES)}.")
    ttl_s = int(seconds_of("--ttl", ttl)) if ttl is not None else 0
    if agents_max is not None and role != "agent":
        raise UsageProblem(f"--agents-max is for tokens of role agent, not {role}.")
    if ttl is not None and ttl_s < 1:
        raise UsageProblem(f"--ttl {ttl}: at least a second.")

    async def work() -> str:
        async with ControllerClient(address, token) as client:
            _entry, text = await client.create_token(role, name, ttl_s=ttl_s, agents_max=agents_max or 0)
        return text

    console.line(ask(work))
    return ExitCode.OK


@token_app.command("list", epilog=EXAMPLES)
def list_tokens(context: typer.Context, controller: ControllerOption = None, token_file: TokenFileOption = None) -> int:
    """List the tokens that are good now, without their texts."""
    from loadproof_controller.operations.client import ControllerClient

    console = console_of(context)
    address, token = the_controller(console, controller), read_token(console, token_file)

    async def work() -> None:
        async with ControllerClient(address, token) as client:
            entries = await client.tokens()
        table = _table("token", "role", "name", "made", "good until", "agents")
        for entry in entries:
            until = _moment(entry.expires_at) if entry.expires_at is not None else "it is revoked"
            table.add_row(
                entry.token_id,
                entry.role,
                Text(entry.name),
                _moment(entry.created_at),
                until,
                str(entry.agents_max or ""),
            )
        console.result(table)

    ask(work)
    return ExitCode.OK


@token_app.command("revoke", epilog=EXAMPLES)
def revoke_token(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="As `loadproof token list` shows it.")],
    controller: ControllerOption = None,
    token_file: TokenFileOption = None,
) -> int:
    """End a token. Agents and relays that joined with it are put out."""
    from loadproof_controller.operations.client import ControllerClient

    console = console_of(context)
    address, token = the_controller(console, controller), read_token(console, token_file)

    async def work() -> None:
        async with ControllerClient(address, token) as client:
            await client.revoke_token(token_id)

    ask(work)
    console.line(f"token {token_id} is revoked")
    return ExitCode.OK


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _moment(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
