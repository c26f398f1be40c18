"""A PostgreSQL server of the test's own: Debian's package, on a Unix socket in a temporary folder, gone afterwards."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def binaries() -> Path | None:
    """Return the folder of initdb and pg_ctl, None where PostgreSQL is not installed."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def account() -> str | None:
    """Return whom the server is run as: never root, which it refuses; None where there is nobody else."""
    if os.getuid() != 0:
        return getpass.getuser()
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    return None


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """Start a server and give the address of an empty database; skips the test where that cannot be."""
    programs, user = binaries(), account()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here")
    if user is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no other account here")
    folder = Path(tempfile.mkdtemp(prefix="lp-pg-", dir="/tmp"))
    entry = pwd.getpwnam(user)
    as_user: dict[str, Any] = (
        {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    )
    os.chown(folder, entry.pw_uid, entry.pw_gid)

    def call(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        clean = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            command, check=True, env=clean, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=60, **as_user,
        )  # fmt: skip

    try:
        call("initdb", "-U", "loadproof", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=20"
        call("pg_ctl", "-w", "-s", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://loadproof@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-w", "-s", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
