"""The store's tables, and how they get from one version to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)

SCHEMA_VERSION = 1
"""Raised with every change of the tables, together with its step in `UPGRADES`."""
UPGRADES: Mapping[int, Sequence[str]] = {}
"""SQL that brings a store of version n to n + 1, by n; understood by SQLite and PostgreSQL alike."""

metadata = MetaData()

schema_version = Table("loadproof_schema", metadata, Column("version", Integer, nullable=False))

runs = Table(
    "loadproof_runs",
    metadata,
    Column("run_id", String(200), primary_key=True),
    Column("suite", String(200), nullable=False),
    Column("profile", String(200), nullable=False),
    Column("build", String(200), nullable=False),
    Column("environment", String(200), nullable=False),
    Column("status", String(20), nullable=False),
    Column("decision", String(20), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("plan_sha256", String(64), nullable=False),
    Column("tool_version", String(40), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Index("loadproof_runs_by_time", "suite", "profile", "started_at"),
)

transactions = Table(
    "loadproof_transactions",
    metadata,
    Column("run_id", ForeignKey("loadproof_runs.run_id"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("criticality", String(20), nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("p50_us", BigInteger),
    Column("p95_us", BigInteger),
    Column("p99_us", BigInteger),
    Column("mean_us", Float),
)

files = Table(
    "loadproof_files",
    metadata,
    Column("run_id", ForeignKey("loadproof_runs.run_id"), primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

baselines = Table(
    "loadproof_baselines",
    metadata,
    Column("suite", String(200), primary_key=True),
    Column("profile", String(200), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("run_id", ForeignKey("loadproof_runs.run_id"), nullable=False),
    Column("set_at", String(40), nullable=False),
)


def version_of(connection: Connection) -> int | None:
    """Return the version of the tables in the database: None in an empty one, 0 where the tables are not ours."""
    names = set(inspect(connection).get_table_names())
    if schema_version.name not in names:
        return 0 if any(name.startswith("loadproof_") for name in names) else None
    found = connection.execute(schema_version.select()).scalars().all()
    return found[0] if len(found) == 1 and isinstance(found[0], int) else 0


def create(connection: Connection) -> None:
    """Make the tables in a database without them."""
    metadata.create_all(connection)
    connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))


def upgrade(connection: Connection, version: int) -> None:
    """Bring tables of `version` to this code's, inside the connection's transaction. Raises KeyError without a way."""
    for number in range(version, SCHEMA_VERSION):
        for statement in UPGRADES[number]:
            connection.execute(text(statement))
    connection.execute(schema_version.update().values(version=SCHEMA_VERSION))
