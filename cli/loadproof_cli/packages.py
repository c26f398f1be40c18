"""The packages of suites on the machine where the command runs: installed only where it was told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from loadproof_cli.console import Console
from loadproof_cli.errors import InfrastructureProblem, Interrupted

if TYPE_CHECKING:
    from loadproof.config.project import Install
    from loadproof.lockfile import Lock


def packages_folder(console: Console) -> Path:
    """Return where packages are kept for this user, shared by all commands and local agents."""
    cache = console.environ.get("XDG_CACHE_HOME")
    home = console.environ.get("HOME")
    base = Path(cache) if cache else (Path(home) if home else Path.home()) / ".cache"
    return console.resolve(base) / "loadproof" / "packages"


def installer(console: Console) -> Install:
    """Return what installs a suite's packages and keeps them until the command ends.

    It raises InfrastructureProblem with pip's last lines, or Interrupted.
    """

    def install(lock: Lock) -> Path:
        from loadproof_agent.errors import RunError
        from loadproof_agent.packages import PackageStore

        count = len(lock.requirements)
        console.say(f"packages: {count} of {lock.file}, sha256 {lock.sha256[:12]}", style="dim")
        try:
            with console.interruptible():
                provided = asyncio.run(PackageStore(packages_folder(console)).provide(lock))
        except RunError as error:
            raise InfrastructureProblem(f"{error.text}. Nothing was started.") from error
        except KeyboardInterrupt:
            raise Interrupted("interrupted; no package was installed, nothing was started.") from None
        console.closing.callback(provided.close)
        return provided.path

    return install
