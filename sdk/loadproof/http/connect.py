"""Opening a connection: resolve, connect to one address after the other, then TLS; each stage with its own bound."""

import asyncio
import errno
import ssl
from time import monotonic_ns
from typing import TYPE_CHECKING

from loadproof.http.connection import Connection
from loadproof.http.errors import ConnectError, DnsError, HttpError, RequestTimeout, ServerDisconnected, TlsError

if TYPE_CHECKING:
    from loadproof.http.call import Route
    from loadproof.http.client import HttpClient


async def open_connection(client: "HttpClient", route: "Route", pool: list[Connection], deadline_ns: int) -> Connection:
    """A new idle connection of `client` to the route's origin. Raises HttpError of its stage."""
    engine = client.engine
    address = route.address
    error: HttpError = DnsError(f"host {address.host!r} has no address")
    try:
        async with asyncio.timeout(_seconds(None, deadline_ns)):
            hosts = await engine.resolver.resolve(address.host, address.port, client.number)
    except TimeoutError as late:
        raise RequestTimeout(f"host {address.host!r} was not resolved in time", stage="dns") from late
    for host in hosts:
        try:
            connection = await _connect(client, route, pool, host, deadline_ns)
        except HttpError as failed:
            error = failed
            if monotonic_ns() >= deadline_ns:
                break
            continue
        if route.secure:
            await _start_tls(connection, route, deadline_ns)
        if not engine.running:
            connection.close()
            raise ConnectError("the engine is not running; use `async with HttpEngine(...)`")
        if connection.transport is None:
            raise ServerDisconnected("the peer closed the new connection before a request")
        engine.connections.add(connection)
        client.connections.append(connection)
        return connection
    raise error


def _seconds(stage_ns: int | None, deadline_ns: int) -> float:
    left_ns = max(0, deadline_ns - monotonic_ns())
    return (left_ns if stage_ns is None else min(stage_ns, left_ns)) / 1e9


async def _connect(
    client: "HttpClient", route: "Route", pool: list[Connection], host: str, deadline_ns: int
) -> Connection:
    loop = asyncio.get_running_loop()
    port = route.address.port
    try:
        async with asyncio.timeout(_seconds(client.engine.stages.connect_ns, deadline_ns)):
            _, connection = await loop.create_connection(lambda: Connection(client, route, pool), host, port)
    except TimeoutError as error:
        raise RequestTimeout(f"no connection to {host} port {port} in time", stage="connect") from error
    except OSError as error:
        hint = "; raise the open-file limit (ulimit -n)" if error.errno == errno.EMFILE else ""
        reason = error.strerror or str(error)
        raise ConnectError(f"no connection to {host} port {port}: {reason}{hint}") from error
    return connection


async def _start_tls(connection: Connection, route: "Route", deadline_ns: int) -> None:
    engine = connection.client.engine
    context = engine.tls_context()
    name = engine.tls.server_name or route.address.host
    plain = connection.transport
    assert plain is not None
    try:
        async with asyncio.timeout(_seconds(engine.stages.tls_ns, deadline_ns)):
            transport = await asyncio.get_running_loop().start_tls(plain, connection, context, server_hostname=name)
    except TimeoutError as error:
        plain.abort()
        raise RequestTimeout(f"no TLS with {name} in time", stage="tls") from error
    except ssl.SSLCertVerificationError as error:
        plain.abort()
        raise TlsError(f"certificate of {name} refused: {error.verify_message or error}") from error
    except (ssl.SSLError, OSError) as error:
        plain.abort()
        raise TlsError(f"TLS with {name} failed: {error}") from error
    except BaseException:
        plain.abort()
        raise
    if transport is None:
        raise TlsError(f"TLS with {name} failed: the peer closed the connection")
    connection.attach(transport)
