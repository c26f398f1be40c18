"""The commands and their common options, put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from loadproof_cli.commands import (
    agent,
    baseline,
    capacity,
    check,
    compare,
    controller,
    doctor,
    fleet,
    history,
    init,
    relay,
    report,
    run,
    try_once,
)
from loadproof_cli.console import console_of

app = typer.Typer(
    name="loadproof",
    help="Prove a release under load: from a suite of business transactions to GO, GO WITH RISK, NO-GO or NOT PROVEN.",
    epilog="Start with: loadproof init my-suite   then: loadproof run my-suite",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        console_of(context).line(f"loadproof {version('loadproof')}")
        raise typer.Exit


@app.callback()
def common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Prove a release under load: from business transactions to GO, GO WITH RISK, NO-GO or NOT PROVEN."""


app.command("init", epilog=init.EXAMPLES)(init.init)
app.command("check", epilog=check.EXAMPLES)(check.check)
app.command("try", epilog=try_once.EXAMPLES)(try_once.try_once)
app.command("run", epilog=run.EXAMPLES)(run.run)
app.command("controller", epilog=controller.EXAMPLES)(controller.controller)
app.command("agent", epilog=agent.EXAMPLES)(agent.agent)
app.command("relay", epilog=relay.EXAMPLES)(relay.relay)
app.command("runs", epilog=fleet.RUNS_EXAMPLES)(fleet.runs)
app.command("stop", epilog=fleet.STOP_EXAMPLES)(fleet.stop)
app.command("fleet", epilog=fleet.FLEET_EXAMPLES)(fleet.fleet)
app.add_typer(fleet.token_app, name="token", epilog=fleet.EXAMPLES)
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("capacity", epilog=capacity.EXAMPLES)(capacity.capacity)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.add_typer(baseline.app, name="baseline", epilog=baseline.EXAMPLES)
app.add_typer(history.app, name="history")
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
