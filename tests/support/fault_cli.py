"""The `loadproof` command in a process of its own, awaited, so that a target can serve from the same loop."""

from __future__ import annotations

import asyncio
import resource
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from shop_cli import COMMAND, Finished, environment


async def command(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, file_bytes_max: int = 0
) -> Finished:
    """Run the command to its end. `file_bytes_max` is the size at which the system refuses to let a file grow."""
    limited = [str(COMMAND[0]), "-c", LIMITED.format(file_bytes_max), *COMMAND[1:]] if file_bytes_max else COMMAND
    process = await asyncio.create_subprocess_exec(
        *limited, *map(str, arguments), cwd=cwd, env=environment(env), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(90):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(process.returncode or 0, out.decode(), err.decode())


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, resource.RLIM_INFINITY))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class FileLimit:
    """While it holds, no file this process writes grows beyond `size` bytes: a full disk without a disk."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def __enter__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._before[1]))

    def __exit__(self, *_error: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
