#!/usr/bin/env python3
"""Starts, stops and shows agents on a list of hosts over ssh; needs nothing but Python here and ssh, sh there.

    deploy/ssh/fleet.py start hosts.txt --controller load.example.com:7443 --join-file join.token
    deploy/ssh/fleet.py status hosts.txt
    deploy/ssh/fleet.py stop hosts.txt

hosts.txt has one line each: a destination as ssh takes it, then options of `loadproof agent`, if any:

    load1.example.com
    loader@load2.example.com --workers 4 --label region=eu

The token travels over ssh's standard input and is kept in a file of mode 0600: it stands in no process list.
Exit code 0: done on every host; 1: not on some, which are named; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HOSTS_MAX = 1_000
AT_ONCE_MAX = 32
SSH_LIMIT_S = 120
START = r"""
set -eu
umask 077
folder="$HOME/.loadproof-agent"
mkdir -p "$folder"
cat >"$folder/join"
running() { [ -s "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; }
if running; then echo "runs already, process $(cat "$folder/pid")"; exit 0; fi
if ! command -v "$LP_COMMAND" >/dev/null; then
    echo "there is no command $LP_COMMAND; install Loadproof, or name it with --command" >&2
    exit 3
fi
: >"$folder/log"
nohup setsid "$LP_COMMAND" agent "$LP_CONTROLLER" \
    --join-file "$folder/join" --name "$LP_NAME" "$@" </dev/null >>"$folder/log" 2>&1 &
echo $! >"$folder/pid"
left="$LP_WAIT"
until grep "attached to" "$folder/log" | grep -qv "not attached"; do
    if ! running; then echo "the agent ended:" >&2; tail -n 3 "$folder/log" >&2; rm -f "$folder/pid"; exit 4; fi
    if [ "$left" -le 0 ]; then echo "not attached yet; it goes on trying:" >&2; tail -n 1 "$folder/log" >&2; exit 5; fi
    left=$((left - 1)); sleep 1
done
echo "attached, process $(cat "$folder/pid")"
"""
STOP = r"""
set -eu
folder="$HOME/.loadproof-agent"
rm -f "$folder/join"
running() { [ -s "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; }
if ! running; then rm -f "$folder/pid"; echo "does not run"; exit 0; fi
pid=$(cat "$folder/pid")
kill -TERM "$pid"
left="$LP_WAIT"
while running; do
    if [ "$left" -le 0 ]; then kill -TERM "$pid" 2>/dev/null || true; left=20; LP_WAIT=-1; fi
    if [ "$LP_WAIT" -lt 0 ] && [ "$left" -le 1 ]; then kill -KILL "-$pid" 2>/dev/null || true; fi
    left=$((left - 1)); sleep 1
done
rm -f "$folder/pid"
echo "stopped"
"""
STATUS = r"""
folder="$HOME/.loadproof-agent"
if [ -s "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
    echo "runs, process $(cat "$folder/pid"): $(tail -n 1 "$folder/log" | cut -c 1-200)"
else
    echo "does not run"
fi
"""


@dataclass(frozen=True)
class Host:
    """One line of the list."""

    destination: str
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        """The agent's name, unless its options say another."""
        return self.destination.rpartition("@")[2]


@dataclass(frozen=True)
class Answer:
    """How one host did."""

    host: Host
    code: int
    text: str


def read_hosts(path: Path) -> list[Host]:
    """Return the hosts of a list. Raises ValueError, naming the line."""
    hosts: list[Host] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        if not words:
            continue
        if words[0].startswith("-"):
            raise ValueError(f"{path}:{number}: a line starts with a host, not with {words[0]}")
        if words[0] in {host.destination for host in hosts}:
            raise ValueError(f"{path}:{number}: {words[0]} is listed twice")
        hosts.append(Host(words[0], tuple(words[1:])))
    if not 1 <= len(hosts) <= HOSTS_MAX:
        raise ValueError(f"{path}: {len(hosts)} hosts; 1 to {HOSTS_MAX} are possible")
    return hosts


def remote_command(script: str, variables: dict[str, str], options: tuple[str, ...]) -> str:
    """Return one command line for a remote shell; nothing of it is taken apart again there."""
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    return f"{settings} sh -c {shlex.quote(script)} loadproof {shlex.join(options)}".strip()


def ask(ssh: list[str], host: Host, command: str, given: bytes) -> Answer:
    """Run a command on a host; 255 is ssh's own failure."""
    try:
        done = subprocess.run(
            [*ssh, "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "--", host.destination, command],
            input=given, capture_output=True, timeout=SSH_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Answer(host, 255, f"no answer within {SSH_LIMIT_S} s")
    except OSError as error:
        return Answer(host, 255, f"{ssh[0]}: {error.strerror}")
    text = done.stdout if done.returncode == 0 else done.stderr or done.stdout
    return Answer(host, done.returncode, " ".join(text.decode("utf-8", "replace").split())[:500])


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    whole = argparse.ArgumentParser(prog="fleet.py", description="Agents on a list of hosts, over ssh.")
    whole.add_argument("action", choices=["start", "stop", "status"])
    whole.add_argument("hosts", type=Path, help="the list")
    whole.add_argument("--controller", metavar="HOST:PORT", help="whom the agents join")
    whole.add_argument("--join-file", type=Path, metavar="FILE", help="the join token")
    whole.add_argument("--command", default="loadproof", help="on the hosts (default: %(default)s)")
    whole.add_argument("--ssh", default="ssh", help="the ssh command here, with options (default: %(default)s)")
    whole.add_argument("--wait", type=int, default=60, metavar="S", help="seconds for a start or a stop (default: 60)")
    return whole


def main(arguments: list[str]) -> int:
    """Do one action on all hosts."""
    asked = parser().parse_args(arguments)
    given, script, variables = b"", {"start": START, "stop": STOP, "status": STATUS}[asked.action], {}
    try:
        hosts = read_hosts(asked.hosts)
        if asked.action == "start":
            if not asked.controller or asked.join_file is None:
                raise ValueError("start needs --controller HOST:PORT and --join-file FILE")
            given = asked.join_file.read_bytes()
            variables = {"LP_CONTROLLER": asked.controller, "LP_COMMAND": asked.command}
    except (OSError, ValueError) as error:
        print(f"fleet.py: {error}", file=sys.stderr)
        return 2
    variables["LP_WAIT"] = str(asked.wait)
    ssh = shlex.split(asked.ssh)

    def act(host: Host) -> Answer:
        return ask(ssh, host, remote_command(script, variables | {"LP_NAME": host.name}, host.options), given)

    with ThreadPoolExecutor(min(AT_ONCE_MAX, len(hosts))) as pool:
        answers = list(pool.map(act, hosts))
    for answer in answers:
        print(f"{answer.host.destination}: {answer.text or f'ended with {answer.code}'}")
    failed = [answer.host.destination for answer in answers if answer.code]
    if failed:
        print(f"{asked.action} failed on {len(failed)} of {len(hosts)}: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
