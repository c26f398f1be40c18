"""Host names and addresses: one spelling for each, in the form that goes on the wire."""

import ipaddress
import re

import idna

from loadproof.http.errors import InvalidRequest

_NOT_IN_HOSTS = re.compile(r"[\s/\\?#@<>^|%\"]").search


def ascii_host(host: str) -> str:
    """The host in its wire form: IDNA 2008 (with UTS 46 mapping) for names, compressed form for addresses."""
    if not host:
        raise InvalidRequest("URL has no host")
    if host.isascii():
        if _NOT_IN_HOSTS(host):
            raise InvalidRequest(f"host {host!r} has characters that no host has")
        return normal_host(host)
    try:
        return idna.encode(host.rstrip("."), uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise InvalidRequest(f"host {host!r} is not a valid international name: {error}") from error


def is_address(host: str) -> bool:
    """Whether `host` is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def normal_host(host: str) -> str:
    """One spelling per host: IP addresses compressed, names in lower case without the final dot."""
    try:
        return ipaddress.ip_address(host.strip("[]")).compressed
    except ValueError:
        return host.lower().rstrip(".")


def split_host_port(target: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[::1]`, `[::1]:port` or a bare IPv6 address. Raises ValueError for a bad port."""
    if target.startswith("["):
        host, _, rest = target[1:].partition("]")
        port = rest.removeprefix(":")
    elif target.count(":") == 1:
        host, _, port = target.partition(":")
    else:
        host, port = target, ""
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"target {target!r} has a bad port")
    return host, int(port) if port else None
