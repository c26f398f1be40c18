"""Which agent may have which name: the one it asks for, unless another holds it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from pathlib import Path

import orjson

from loadproof_controller.errors import ServiceError
from loadproof_controller.security.files import write_private

NAMES_MAX = 100_000
NAME_CHARACTERS_MAX = 50
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]+")


class AgentNames:
    """Names and the id of the token each was given out for, in one private file.

    A name is given again only to who joins with the same token while no agent of that name is attached: a restarted
    agent gets its name back, a stranger with another token never does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: dict[str, str] = {}
        try:
            self._tokens = {str(name): str(token) for name, token in orjson.loads(path.read_bytes()).items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError) as error:
            raise ServiceError(f"{path}: the agents' names cannot be read ({error}); restore or remove it") from error

    def claim(self, wanted: str, token_id: str, attached: Callable[[str], bool]) -> str:
        """Return the name for an agent that would like to be called `wanted`. Raises `ServiceError` when full."""
        base = _FOREIGN.sub("-", wanted)[:NAME_CHARACTERS_MAX].strip("-._") or "agent"
        name = base
        while self._tokens.get(name, token_id) != token_id or attached(name):
            name = f"{base}-{secrets.token_hex(2)}"
        if name not in self._tokens:
            if len(self._tokens) >= NAMES_MAX:
                raise ServiceError(f"{NAMES_MAX} names were given out already; remove {self._path} between runs")
            self._tokens[name] = token_id
            write_private(self._path, orjson.dumps(self._tokens))
        return name
