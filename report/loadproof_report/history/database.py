"""Opening the database behind a store: addresses, connections, versions, and errors in plain words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from loadproof_report.history import tables
from loadproof_report.history.errors import StoreError, StoreUnavailable, StoreVersionError

CONNECT_S: Final = 5
"""How long to wait for a database that does not answer."""
BUSY_S: Final = 30
"""How long to wait for another process that writes to the same SQLite file."""
_LOCK: Final = 0x10AD_B005
"""Key of the advisory lock under which tables are made or upgraded, and runs recorded, in PostgreSQL."""
_SERVER: Final = {"connect_timeout": CONNECT_S, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""So that a server that vanished is given up after half a minute, not after the system's two hours."""
_SECRETS: Final = frozenset({"password", "sslpassword"})


def sqlite_url(path: Path) -> str:
    """Return the address of a store in a file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """A checked database. Constructing connects to nothing; `open` does. Addresses shown have no password."""

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        self.shown = _shown(self._url)
        self._engine: Engine | None = None

    @property
    def is_file(self) -> bool:
        """Whether the store is a SQLite file, used by one person on one machine."""
        return self._url.get_backend_name() == "sqlite"

    def open(self, *, upgrade: bool = False) -> None:
        """Connect, make the tables in an empty database, check their version.

        A file is upgraded as it is opened; a server, which others use too, only with `upgrade`. Raises
        `StoreUnavailable` or `StoreVersionError`.
        """
        self._engine = self._create()
        with self.transaction(write=True) as connection:
            self.exclude_others(connection)
            version = tables.version_of(connection)
            if version is None:
                tables.create(connection)
            elif version != tables.SCHEMA_VERSION:
                self._mind(connection, version, upgrade=upgrade or self.is_file)

    def _mind(self, connection: Connection, version: int, *, upgrade: bool) -> None:
        code = tables.SCHEMA_VERSION
        if version > code:
            reason = f"its tables have version {version}, this Loadproof knows {code}"
            raise StoreVersionError(self.shown, reason, "Use a newer Loadproof, or another store.")
        if version < 1 or any(number not in tables.UPGRADES for number in range(version, code)):
            reason = f"its tables (version {version}) are none that this Loadproof (version {code}) can use"
            raise StoreVersionError(self.shown, reason, "Use another store and import the runs there.")
        if not upgrade:
            reason = f"its tables have version {version}, this Loadproof needs {code}"
            raise StoreVersionError(self.shown, reason, "Bring them up to date with: loadproof history upgrade.")
        tables.upgrade(connection, version)

    def exclude_others(self, connection: Connection) -> None:
        """Until the transaction's end, let no other one past its own call; with a file, writing does it already."""
        if not self.is_file:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    def close(self) -> None:
        """Let go of the database."""
        if self._engine is not None:
            self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """Give a connection in a transaction: all of it happens or nothing. Errors become `StoreUnavailable`."""
        assert self._engine is not None, "open() first"
        try:
            with self._engine.connect().execution_options(loadproof_write=write) as connection, connection.begin():
                yield connection
        except DBAPIError as error:
            raise StoreUnavailable(self.shown, _reason(error), _remedy(error, is_file=self.is_file)) from None
        except SQLAlchemyError as error:
            raise StoreUnavailable(self.shown, _first_line(str(error)), "Is it a run history?") from None

    def _create(self) -> Engine:
        if self.is_file:
            engine = create_engine(self._url, poolclass=NullPool, connect_args={"timeout": BUSY_S})
            event.listen(engine, "connect", _plain_transactions)
            event.listen(engine, "begin", _begin)
            return engine
        try:
            return create_engine(self._url, poolclass=NullPool, connect_args=_SERVER)
        except (ImportError, NoSuchModuleError):
            raise StoreUnavailable(
                self.shown,
                "the driver for PostgreSQL is not installed",
                "Install it with: pip install psycopg[binary].",
            ) from None


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        example = "such as postgresql://user:password@host/database or sqlite:///.loadproof/history.db"
        raise StoreError(
            "(unreadable address)", "it is not the address of a database", f"Give one {example}."
        ) from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    raise StoreError(
        _shown(parsed),
        f"{backend} is no kind of database it can be in",
        "Use postgresql://user:password@host/database or sqlite:///.loadproof/history.db.",
    )


def _shown(url: URL) -> str:
    """Return the address without a password, wherever in it that is."""
    hidden = {name: "***" for name in url.query if name.lower() in _SECRETS}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _plain_transactions(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own would leave CREATE TABLE outside of the transaction


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("loadproof_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _reason(error: DBAPIError) -> str:
    return _first_line(str(error.orig)) or type(error.orig).__name__


def _remedy(error: DBAPIError, *, is_file: bool) -> str:
    text_ = str(error.orig).lower()
    if not is_file:
        return "Is the database up, and the address right?"
    if "locked" in text_:
        return "Another command is writing to it; try again."
    if "readonly" in text_ or "unable to open" in text_:
        return "Is the folder there, and may you write to it?"
    return "The file is damaged or no run history; move it away, and import the runs' folders again."


def _first_line(message: str) -> str:
    return " ".join((message.strip().splitlines() or [""])[0].split())[:200].rstrip(".")
