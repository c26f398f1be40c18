"""Names to addresses, remembered for a while and spread over users, so that each address gets its share of the load."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from time import monotonic_ns

from loadproof.http.errors import DnsError
from loadproof.http.hosts import is_address

_TTL_NS = 30_000_000_000  # getaddrinfo tells no TTL; as long as a typical load balancer's record
_NAMES_MAX = 1024

Lookup = Callable[[str, int], Awaitable[list[str]]]


async def system_lookup(host: str, port: int) -> list[str]:
    """Addresses of `host` by the system's resolver, in its order (RFC 6724), in a thread of the loop's pool."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """A cache of lookups; concurrent questions for one name share one lookup."""

    def __init__(self, lookup: Lookup = system_lookup, ttl_ns: int = _TTL_NS) -> None:
        self._lookup = lookup
        self._ttl_ns = ttl_ns
        self._known: dict[tuple[str, int], tuple[int, list[str]]] = {}
        self._pending: dict[tuple[str, int], asyncio.Future[None]] = {}

    async def resolve(self, host: str, port: int, turn: int) -> list[str]:
        """Addresses to try in order, rotated by `turn` (a number per user). Raises DnsError."""
        if is_address(host):
            return [host]
        key = (host, port)
        while True:
            known = self._known.get(key)
            if known is not None and known[0] > monotonic_ns():
                addresses = known[1]
                cut = turn % len(addresses)
                return addresses[cut:] + addresses[:cut]
            pending = self._pending.get(key)
            if pending is None:
                await self._refresh(key)
            else:
                await asyncio.wait([pending])
                if key not in self._known:
                    raise DnsError(f"host {host!r} can't be resolved")

    async def _refresh(self, key: tuple[str, int]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending[key] = done
        self._known.pop(key, None)
        try:
            addresses = await self._lookup(*key)
            if not addresses:
                raise DnsError(f"host {key[0]!r} has no address")
            if len(self._known) >= _NAMES_MAX:
                self._known.clear()
            self._known[key] = (monotonic_ns() + self._ttl_ns, addresses)
        except (OSError, UnicodeError) as error:
            raise DnsError(f"host {key[0]!r} can't be resolved: {error}") from error
        finally:
            del self._pending[key]
            done.set_result(None)
