"""Why a port could not be had: gRPC says that it could not, and nothing else."""

from __future__ import annotations

import errno
import socket

from loadproof_controller.errors import ServiceError


def cannot_listen(address: str, option: str, whose: str) -> ServiceError:
    """Return the error for `HOST:PORT`, which gRPC could not bind: its cause, and the option that mends it.

    `whose` says what was to listen there. Tries the address once more, by itself: called only on the way out.
    """
    return ServiceError(f"cannot listen at {address}, {whose}: {_cause(address, option)}")


def _cause(address: str, option: str) -> str:
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return f"the host {bare} cannot be found; name an address of this machine with --listen"
    for family, kind, protocol, _name, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
                probe.listen()
        except OSError as error:
            return _words(error, bare, port, option)
    return "it is free now; start again"


def _words(error: OSError, host: str, port: str, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use (another controller?); choose another with {option}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; name one of its own with --listen"
    if error.errno == errno.EACCES:
        return f"this user may not listen at port {port}; choose one above 1023 with {option}"
    return f"{(error.strerror or str(error)).lower()}; choose another with --listen"
