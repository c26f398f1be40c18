"""`loadproof controller`: a controller that stays, with a fleet and a queue of runs."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadproof_cli.console import Console, console_of
from loadproof_cli.errors import InfrastructureProblem, UsageProblem
from loadproof_cli.exitcodes import ExitCode
from loadproof_cli.loops import fast_loop
from loadproof_cli.remote import checked_address
from loadproof_cli.stores import STORE_VARIABLE, store_problem

if TYPE_CHECKING:
    from loadproof_controller.web.server import WebOptions

EXAMPLES = """[bold]Examples[/]

loadproof controller                          on port 7443 of every address, TLS and tokens included

loadproof controller --listen 10.0.0.5:9000   agents come in at the next port, 9001

loadproof controller --web 127.0.0.1:8080     with pages for a browser on this machine
"""

DEFAULT_LISTEN = "0.0.0.0:7443"
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not listened at
PORT_MAX = 65_535
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def controller(
    context: typer.Context,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="For people, pipelines and joining agents.")
    ] = DEFAULT_LISTEN,
    agents_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Where attached agents come in.", show_default="the next after PORT"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Certificates, tokens, runs.", show_default="~/.local/state/loadproof/controller"
        ),
    ] = None,
    advertise: Annotated[
        str | None, typer.Option(metavar="HOST", help="The host agents dial, for the printed command.")
    ] = None,
    web: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve pages and the REST interface there.")
    ] = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="Serve /metrics for Prometheus beside the pages.")] = False,
    otlp: Annotated[
        str | None, typer.Option(metavar="URL", help="Push metrics there (OTLP over HTTP) while pages are served.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The run history, as of `run`. With a password in it, say it in LOADPROOF_STORE: argv is open to all.",
            show_default="history.db in --data",
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plaintext, on a loopback address only.")] = False,
) -> int:
    """Keep a fleet of agents and run what is submitted, one run after another. SIGTERM stops the run that is on."""
    from loadproof.trust import split_address
    from loadproof_controller import collector
    from loadproof_controller.house import HouseOptions

    console = console_of(context)
    host, port = split_address(checked_address(listen))
    if agents_port is None and port == PORT_MAX:
        raise UsageProblem(
            f"--listen {listen}: agents come in at the next port, and there is none; say where with --agents-port."
        )
    if insecure and host not in LOOPBACK:
        raise UsageProblem(
            f"--insecure serves plaintext, and so only 127.0.0.1 or ::1, not {host}; nothing was started."
        )
    folder = console.resolve(data) if data is not None else default_data(console)
    shown = advertise or (socket.gethostname() if host in ANY_ADDRESS else host)
    pages = _web_options(web, otlp, metrics=metrics)
    kept = store or console.environ.get(STORE_VARIABLE, "")
    options = HouseOptions(host, port, folder, agents_port, insecure=insecure, web=pages, advertise=shown, store=kept)
    collector.settle()
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(_serve(console, options, shown))


def _web_options(web: str | None, otlp: str | None, *, metrics: bool) -> WebOptions | None:
    from loadproof.trust import split_address
    from loadproof_controller.web.server import WebOptions

    if web is None:
        if metrics or otlp:
            raise UsageProblem("--metrics and --otlp are served beside the pages: say where with --web HOST:PORT.")
        return None
    if otlp and not otlp.startswith(("http://", "https://")):
        raise UsageProblem(f"--otlp {otlp}: it takes a URL like http://collector:4318/v1/metrics.")
    host, port = split_address(checked_address(web))
    return WebOptions(host, port, metrics=metrics, otlp_url=otlp or "")


def default_data(console: Console) -> Path:
    """Return where a controller keeps its things unless told."""
    state = console.environ.get("XDG_STATE_HOME")
    home = Path(console.environ.get("HOME") or Path.home())
    return (Path(state) if state else home / ".local" / "state") / "loadproof" / "controller"


async def _serve(console: Console, options: object, host: str) -> int:
    from loadproof_cli.service_log import log_to
    from loadproof_controller.errors import ControllerError
    from loadproof_controller.house import HouseOptions, open_house
    from loadproof_report.history import StoreError

    assert isinstance(options, HouseOptions)
    stop = asyncio.Event()
    log_to(console.stderr)
    try:
        with console.interrupts(stop.set):
            async with open_house(options) as house:
                at = f"[{host}]" if ":" in host else host
                plain = " (plaintext)" if options.insecure else ""
                console.line(f"controller at {at}:{house.port}{plain}, agents come in at port {house.agents_port}")
                console.line(f"attach an agent:  loadproof agent --join {house.join_token} {at}:{house.port}")
                submit = f"loadproof run SUITE --controller {at}:{house.port} --token-file {house.operator_token_file}"
                console.line(f"submit a run:     {submit}")
                if house.web is not None and options.web is not None:
                    pages = house.web.url
                    if options.web.host in ANY_ADDRESS:  # which no browser can open
                        pages = f"{pages.partition('//')[0]}//{at}:{house.web.port}/"
                    console.line(f"pages:            {pages}")
                if options.store:
                    console.line(f"run history:      {house.history}")
                console.flush()
                await stop.wait()
    except StoreError as error:
        raise store_problem(error) from error
    except ControllerError as error:
        raise InfrastructureProblem(f"the controller cannot run: {str(error).rstrip('.')}.") from error
    return ExitCode.OK
