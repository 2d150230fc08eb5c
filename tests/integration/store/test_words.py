"""Errors of the database never quote what was to be stored: it may be a payload."""

from __future__ import annotations

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.store import tables as t
from hub.store.store import Store
from hub.store.words import words_for_logs, words_of

SECRET = "card 4111111111111111"


async def _store(store: Store, row: dict[str, object]) -> None:
    async def work(conn: AsyncConnection) -> None:
        await conn.execute(insert(t.routes), [row])

    await store.write(work)


@pytest.mark.parametrize(
    "row",
    [{"id": 2, "name": SECRET}, {"id": None, "name": SECRET}],
    ids=["a key that is there already", "a row that is not whole"],
)
async def test_a_refused_row_is_not_quoted(store: Store, row: dict[str, object]) -> None:
    await _store(store, {"id": 1, "name": SECRET})

    with pytest.raises(DBAPIError) as caught:
        await _store(store, row)

    assert SECRET not in words_of(caught.value)
    assert "routes" in words_of(caught.value)
    assert "parameters hidden" in str(caught.value)


async def test_a_value_that_the_database_cannot_take_is_not_quoted(store: Store) -> None:
    with pytest.raises(DBAPIError) as caught:
        await _store(store, {"id": SECRET if store.dialect == "postgresql" else object(), "name": "a"})

    assert SECRET not in words_of(caught.value)


def test_of_a_strangers_error_logs_tell_the_kind_alone() -> None:
    assert words_for_logs(KeyError(SECRET)) == "KeyError"
    assert words_for_logs(UsageError("there is no event 7")) == "UsageError: there is no event 7"


def test_what_is_not_of_the_database_keeps_its_words() -> None:
    assert words_of(ValueError("first\nsecond")) == "ValueError: first\nsecond"
