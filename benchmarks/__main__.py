"""`make bench`: the engine side by side with other tools, all in turn in one run.

    python -m benchmarks [--rounds 5] [--seconds 1.5] [--only CASE ...] [--contenders NAME,...] [--without NAME,...]
                         [--out FILE]

BENCH_ROUNDS, BENCH_SECONDS and BENCH_WITHOUT (names with commas between) set the same. Generators run on one core, the
server on another. A value is CPU time (user and system) of the generator's whole process tree over a window, by the
kernel's scheduler statistics, divided by the requests the server counted in it. Each round runs every contender once;
the median of the rounds counts. Readings during which something else used the machine are flagged.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks import results
from benchmarks.cases import chosen, measures, tool_of
from benchmarks.install import Found, Missing, install, say
from benchmarks.machine import cores, describe
from benchmarks.measuring import Setting, scratch
from benchmarks.recipes import RECIPES
from benchmarks.results import OURS, Rows
from benchmarks.rounds import run
from benchmarks.server import Server


def listed(text: str) -> list[str]:
    """Return the names in a text with commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def arguments() -> argparse.Namespace:
    """Read the command line; what it does not say, the environment says."""
    environ = os.environ
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=int(environ.get("BENCH_ROUNDS", "5")))
    parser.add_argument("--seconds", type=float, default=float(environ.get("BENCH_SECONDS", "1.5")))
    parser.add_argument("--only", nargs="*", default=[], metavar="CASE", help="these cases; or how their names begin")
    parser.add_argument("--contenders", type=listed, default=[], metavar="NAME,...", help="these alone")
    without = environ.get("BENCH_WITHOUT", "")
    parser.add_argument("--without", type=listed, default=listed(without), metavar="NAME,...", help="not these")
    parser.add_argument(
        "--out", type=Path, help="where the JSON goes; with cases or contenders chosen it has to be said"
    )
    return parser.parse_args()


def contenders(keys: list[tuple[str, str]], without: list[str]) -> dict[str, Found | Missing]:
    """Install whom `keys` name."""
    found: dict[str, Found | Missing] = {}
    wanted = {tool_of(name) for _, name in keys}
    for name, recipe in RECIPES.items():
        if name in wanted:
            found[name] = Missing("left out on request") if name in without else install(name, recipe)
            told = found[name]
            say(f"{name}: {told.version if isinstance(told, Found) else f'missing: {told.reason}'}")
    return found


def main() -> int:
    """Install, measure, print, write."""
    given = arguments()
    if not sys.platform.startswith("linux"):
        say("the benchmarks read /proc and pin cores: Linux only")
        return 2
    keys = chosen(given.only, given.contenders)
    unknown = (set(given.contenders) | set(given.without)) - {OURS, *RECIPES}
    if not keys or unknown:
        say(f"no such case or contender; contenders are {', '.join((OURS, *RECIPES))}")
        return 2
    whole = not given.only and not given.contenders
    out = given.out or (results.FILE if whole else None)
    began = time.monotonic()
    found = contenders(keys, given.without)
    generator, serving = cores()
    machine = describe()
    versions = {name: one.version for name, one in found.items() if isinstance(one, Found)}
    settings = {"rounds": 0, "seconds": given.seconds, "cores": [generator, serving]}

    def keep(rows: Rows, rounds: int) -> None:
        settings["rounds"] = rounds
        if out is not None:
            results.write(rows, machine, versions, settings, out)

    with scratch() as folder, Server(Path(folder), serving) as server:
        versions["server"] = server.name
        setting = Setting(server, generator, given.seconds, min(1.0, given.seconds / 2))
        rows = run(measures(keys, setting, found), given.rounds, keep, say)
    print(results.table(rows, machine, versions, settings))
    told = "" if out is None else f"wrote {out}, "
    say(f"\n{told}{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
