"""The tokens a controller has handed out: only hashes are kept, and each can expire or be revoked.

Secrets have 192 random bits, so a plain SHA-256 is as good as a slow one: nothing can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from loadproof.trust import Token
from loadproof_controller.errors import ServiceError
from loadproof_controller.security.access import JOINING, ROLES, Caller, Role
from loadproof_controller.security.files import write_private
from loadproof_controller.text import clean

TOKENS_MAX = 1_000
TTL_S_MAX = 10 * 365 * 24 * 3600
SECRET_BYTES = 24
AGENTS_MAX = 21_024
"""Agents that a token lets in at a time where nothing else is asked for: the largest fleet a controller takes, 1,024 on
streams of their own and 20,000 behind relays.
"""


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """A token without its secret. Moments are UTC; `expires_at` None means until it is revoked.

    `agents_max` agents are let in at a time; 0 for other roles.
    """

    token_id: str
    role: Role
    name: str
    created_at: datetime
    expires_at: datetime | None
    agents_max: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    entry: TokenEntry
    digest: bytes


class TokenStore:
    """Tokens in one file of mode 0600. `pin` names the authority in their texts; empty for a plaintext controller."""

    def __init__(self, path: Path, pin: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._pin = pin
        self._now = now
        self._kept: dict[str, _Kept] = {}
        self._load()

    def create(self, role: Role, name: str, *, ttl_s: int = 0, agents_max: int = 0) -> tuple[TokenEntry, Token]:
        """Make and keep a token; `agents_max` 0 is 21,024 for the role "agent".

        Raises ValueError for an unknown role, a lifetime or a number of agents out of bounds, or too many tokens.
        """
        if role not in ROLES:
            raise ValueError(f"unknown role {clean(str(role), 40)!r}: there are {', '.join(ROLES)}")
        if not 0 <= ttl_s <= TTL_S_MAX:
            raise ValueError(f"a token lives at most {TTL_S_MAX // 86_400} days")
        if not 0 <= agents_max <= AGENTS_MAX:
            raise ValueError(f"a token lets in at most {AGENTS_MAX} agents, which is all a controller takes")
        if agents_max and role != "agent":
            raise ValueError(f"agents join with tokens of role agent; a limit for role {role} says nothing")
        if len(self._kept) >= TOKENS_MAX:
            self._drop_expired()
        if len(self._kept) >= TOKENS_MAX:
            raise ValueError(f"there are {TOKENS_MAX} tokens already; revoke some")
        now = self._now()
        entry = TokenEntry(
            token_id=secrets.token_hex(4),
            role=role,
            name=clean(name, 100),
            created_at=now,
            expires_at=now + timedelta(seconds=ttl_s) if ttl_s else None,
            agents_max=(agents_max or AGENTS_MAX) if role == "agent" else 0,
        )
        token = Token(self._pin, secrets.token_urlsafe(SECRET_BYTES))
        self._kept[entry.token_id] = _Kept(entry, _digest(token.secret))
        self._save()
        return entry, token

    def caller(self, secret: str) -> Caller | None:
        """Return whose secret this is; None when it is nobody's, expired or revoked. Takes as long either way."""
        digest, found = _digest(secret), None
        for kept in self._kept.values():
            if hmac.compare_digest(kept.digest, digest):
                found = kept.entry
        if found is None or self._expired(found):
            return None
        return Caller(found.role, found.name, found.token_id)

    def caller_by_id(self, token_id: str) -> Caller | None:
        """Return who has the token of that id; None when it is expired, revoked or none."""
        kept = self._kept.get(token_id)
        if kept is None or self._expired(kept.entry):
            return None
        return Caller(kept.entry.role, kept.entry.name, token_id)

    def entries(self) -> list[TokenEntry]:
        """Return the tokens that are still good, oldest first."""
        live = [kept.entry for kept in self._kept.values() if not self._expired(kept.entry)]
        return sorted(live, key=lambda entry: (entry.created_at, entry.token_id))

    def known(self, token_id: str) -> bool:
        """Say whether that token was made here and not revoked; an expired one still is."""
        return token_id in self._kept

    def role_of(self, token_id: str) -> Role | None:
        """Return the role of a token that was made here and not revoked; an expired one still has it."""
        kept = self._kept.get(token_id)
        return kept.entry.role if kept is not None else None

    def agents_max(self, token_id: str) -> int:
        """Return how many agents that token lets in at a time."""
        kept = self._kept.get(token_id)
        return (kept.entry.agents_max if kept is not None else 0) or AGENTS_MAX

    def revoke(self, token_id: str) -> bool:
        """End a token; False when there is none of that id."""
        if self._kept.pop(token_id, None) is None:
            return False
        self._save()
        return True

    def _expired(self, entry: TokenEntry) -> bool:
        return entry.expires_at is not None and entry.expires_at <= self._now()

    def _drop_expired(self) -> None:
        """Forget expired tokens; those of agents stay known, their certificates may still be renewed."""
        self._kept = {
            key: kept for key, kept in self._kept.items() if kept.entry.role in JOINING or not self._expired(kept.entry)
        }

    def _load(self) -> None:
        try:
            rows: list[dict[str, Any]] = orjson.loads(self._path.read_bytes())
            for row in rows:
                entry = TokenEntry(
                    row["token_id"], row["role"], row["name"], datetime.fromisoformat(row["created_at"]),
                    datetime.fromisoformat(row["expires_at"]) if row["expires_at"] else None,
                    row.get("agents_max", AGENTS_MAX if row["role"] == "agent" else 0),
                )  # fmt: skip
                self._kept[entry.token_id] = _Kept(entry, bytes.fromhex(row["sha256"]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{self._path}: the tokens cannot be read ({error}); restore or remove the file"
            ) from error

    def _save(self) -> None:
        rows = [
            {
                "token_id": kept.entry.token_id,
                "role": kept.entry.role,
                "name": kept.entry.name,
                "created_at": kept.entry.created_at.isoformat(),
                "expires_at": kept.entry.expires_at.isoformat() if kept.entry.expires_at else None,
                "agents_max": kept.entry.agents_max,
                "sha256": kept.digest.hex(),
            }
            for kept in self._kept.values()
        ]
        write_private(self._path, orjson.dumps(rows, option=orjson.OPT_INDENT_2))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
