"""Statements of the hub's engines, compiled once per process: every test opens engines of its own on a fresh database.

SQLAlchemy remembers what it has compiled by engine, and compiling takes longer than most tests run their statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

STATEMENTS_MAX = 2_000


class _Shared(LRUCache[Any, Any]):
    """Knows a statement by the kind of its dialect, where SQLAlchemy takes the engine's own."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_any_engine(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_of_any_engine(key), value)


def _of_any_engine(key: Any) -> Any:
    dialect, *statement = key
    return type(dialect), *statement


@contextmanager
def shared_by_all_engines() -> Iterator[None]:
    """From now on the hub's engines share what they compile."""
    shared = _Shared(STATEMENTS_MAX)

    def created(*arguments: Any, **options: Any) -> AsyncEngine:
        engine = create_async_engine(*arguments, **options)
        engine.sync_engine._compiled_cache = shared
        return engine

    with patch("hub.store.engines.create_async_engine", created):
        yield
