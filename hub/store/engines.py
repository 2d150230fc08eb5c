"""Engines for both databases, with every connection set up so that the promises hold.

SQLite: write-ahead log, synchronous FULL (a commit is on the disk), foreign keys on, ``BEGIN IMMEDIATE`` for the one
writer. Errors of either never quote a statement's parameters: they may be payloads.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from hub.errors import ConfigError
from hub.store.sqlite_dbapi import Module

SQLITE_READERS = 4
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "recursive_triggers = ON")
HEARTBEAT_S_MAX = 5.0
"""How long a heartbeat may take in all, connecting included: the next one gets a connection of its own anew."""
CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0


def open_engines(
    url: str, *, pool_size: int, busy_timeout_s: float, is_pooled: bool = False
) -> tuple[AsyncEngine, AsyncEngine]:
    """The engine that writes and the engine that reads. Raises ConfigError for a database that is not known.

    ``is_pooled``: a pooler gives PostgreSQL's connections to others after each transaction.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed, busy_timeout_s)
    if backend == "postgresql":
        engine = _postgresql(parsed, pool_size, is_pooled=is_pooled)
        # Several statements of one reading see one moment.
        return engine, engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    raise ConfigError(f"HUB_DATABASE_URL: expected a sqlite or postgresql URL, found {backend}")


def open_heartbeat(url: str, *, is_pooled: bool = False) -> AsyncEngine | None:
    """One connection apart from the others, for what must not wait for them; None where one connection writes."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        return None
    return _postgresql(parsed, 1, is_pooled=is_pooled, timeout_s=HEARTBEAT_S_MAX, name="hub heartbeat")


def _sqlite(url: URL, busy_timeout_s: float) -> tuple[AsyncEngine, AsyncEngine]:
    url = url.set(drivername="sqlite+aiosqlite")
    return (
        _sqlite_engine(url, busy_timeout_s, connections=1, begin="BEGIN IMMEDIATE"),
        _sqlite_engine(url, busy_timeout_s, connections=SQLITE_READERS, begin="BEGIN"),
    )


def _sqlite_engine(url: URL, busy_timeout_s: float, *, connections: int, begin: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        module=Module(PRAGMAS),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        # The last one used has its statements prepared and its pages read.
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args={"timeout": busy_timeout_s},
    )

    def begin_transaction(connection: Any) -> None:
        connection.dbapi_connection.begin(begin)

    # Not by an event: an engine that is listened to makes every statement dearer.
    dialect: Any = engine.sync_engine.dialect
    dialect.do_begin = begin_transaction
    event.listen(engine.sync_engine.pool, "invalidate", _end_transaction)
    return engine


def _end_transaction(connection: Any, _record: Any, _error: Any) -> None:
    # A connection that is given up is closed in its own time: without this, its lock would stay until then.
    with suppress(Exception):  # it may be broken already, which is why it is given up
        connection.rollback()


def _postgresql(
    url: URL, pool_size: int, *, is_pooled: bool, timeout_s: float | None = None, name: str = "hub"
) -> AsyncEngine:
    settings = {} if is_pooled else {**BOUNDS, **KEEPALIVES}
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout_s or CONNECT_TIMEOUT_S,
        # In turn, each of them would meet every statement for the first time, and so would its server process.
        pool_use_lifo=True,
        pool_pre_ping=False,
        hide_parameters=True,
        connect_args={
            "timeout": timeout_s or CONNECT_TIMEOUT_S,
            "command_timeout": timeout_s or COMMAND_TIMEOUT_S,
            "server_settings": {"application_name": name, "timezone": "UTC", **settings},
            **(UNPREPARED if is_pooled else {}),
        },
    )
    if is_pooled:
        event.listen(engine.sync_engine, "begin", _set_for_transaction)
    else:
        event.listen(engine.sync_engine.pool, "connect", _learn_types)
    return engine


def _learn_types(connection: Any, _record: Any) -> None:
    """Have the driver ask for all array types that the hub uses; it would ask for each when it meets it."""
    try:
        connection.run_async(lambda driver: driver.prepare(_ARRAYS))
    except BaseException as error:
        connection.driver_connection.terminate()
        if not isinstance(error, Exception):
            raise
        # The driver has several words for a connection that goes as soon as it has come, one of them about itself.
        raise ConnectionError(f"lost while it was set up: {type(error).__name__}") from error


_ARRAY_KINDS = ("smallint", "integer", "bigint", "text", "bytea", "uuid", "timestamptz", "boolean", "double precision")
_ARRAYS = "SELECT " + ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_ARRAY_KINDS, start=1))


def _set_for_transaction(connection: Any) -> None:
    """What else is set once for a connection: a pooler takes no such setting, and would hand it on to others."""
    connection.execute(_SET_BOUNDS, BOUNDS)


BOUNDS = {"lock_timeout": "10s", "idle_in_transaction_session_timeout": "30s"}
"""How long a transaction may wait for another's lock, and how long nothing may happen in it.

A process whose machine goes away in the middle of a transaction says no word to the server, which would keep its locks
for as long as TCP does, two hours by default: whoever then accepts the same event waits for it.
"""
KEEPALIVES = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Seconds, seconds, tries: the server gives up an idle connection whose other end is gone."""
_SET_BOUNDS = text("SELECT " + ", ".join(f"set_config('{name}', :{name}, true)" for name in BOUNDS))
UNPREPARED: dict[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
}
"""The next transaction may be on another connection of the server, which knows nothing of statements prepared before.
An empty name stands for the one statement that the next one replaces, so that nothing piles up there either."""
