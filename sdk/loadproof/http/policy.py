"""Which hosts may be loaded, and how fast: enforced before a name is resolved or a byte is sent."""

import ipaddress

from loadproof.http.errors import TargetRefused
from loadproof.http.hosts import ascii_host, normal_host, split_host_port

_NS = 1_000_000_000
_BURST_NS = 100_000_000  # a ceiling may be used up to this far ahead, so that 1 ms ticks don't throttle an even load


class TargetPolicy:
    """The allow-list of hosts (None allows all) and the ceiling in requests a second (None has none).

    A target is an exact host, `*.suffix` (any depth, not the suffix itself), an IP address, a network such as
    `10.0.0.0/8`, or any of the first three with `:port`. A ceiling delays, never drops: see `reserve`.
    """

    __slots__ = ("_due_ns", "_exact", "_networks", "_step_ns", "_suffixes", "max_rate_per_s", "targets")

    def __init__(self, targets: tuple[str, ...] | None = None, max_rate_per_s: float | None = None) -> None:
        if max_rate_per_s is not None and not max_rate_per_s > 0:
            raise ValueError(f"max_rate_per_s is {max_rate_per_s}; it must be above 0")
        self.targets = targets
        self.max_rate_per_s = max_rate_per_s
        self._step_ns = round(_NS / max_rate_per_s) if max_rate_per_s else 0
        self._due_ns = 0
        self._exact: set[tuple[str, int | None]] = set()
        self._suffixes: list[tuple[str, int | None]] = []
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for target in targets or ():
            self._add(target.strip().lower())

    def _add(self, target: str) -> None:
        if "/" in target:
            self._networks.append(ipaddress.ip_network(target, strict=False))
            return
        host, port = split_host_port(target)
        if host.startswith("*."):
            self._suffixes.append(("." + ascii_host(host[2:]), port))
        elif host:
            self._exact.add((ascii_host(host), port))

    def limit(self, max_rate_per_s: float | None) -> None:
        """Change the ceiling, as when a worker's share of the fleet's changes; None means none."""
        if max_rate_per_s is not None and not max_rate_per_s > 0:
            raise ValueError(f"max_rate_per_s is {max_rate_per_s}; it must be above 0")
        self.max_rate_per_s = max_rate_per_s
        self._step_ns = round(_NS / max_rate_per_s) if max_rate_per_s else 0

    def check(self, host: str, port: int) -> None:
        """Raise TargetRefused unless `host` (lower case, ASCII, no brackets) may be loaded."""
        if self.targets is None:
            return
        name = normal_host(host.rstrip("."))
        if (name, None) in self._exact or (name, port) in self._exact:
            return
        if any(name.endswith(suffix) and wanted in (None, port) for suffix, wanted in self._suffixes):
            return
        if self._networks and self._in_network(name):
            return
        allowed = ", ".join(self.targets) or "(none)"
        raise TargetRefused(f"target {host}:{port} is not allowed; the environment's targets are: {allowed}")

    def _in_network(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def reserve(self, now_ns: int) -> int:
        """Take the next slot under the ceiling; the answer is how many nanoseconds to wait before sending (0: now)."""
        if not self._step_ns:
            return 0
        due_ns = max(self._due_ns, now_ns - _BURST_NS)
        self._due_ns = due_ns + self._step_ns
        return max(0, due_ns - now_ns)
