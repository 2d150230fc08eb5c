"""Many numbers as one parameter, so that a statement is the same text for any count and is planned once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, TableValuedAlias, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection


def number_table(conn: AsyncConnection, numbers: Sequence[int], kind: type[Any], *, name: str) -> TableValuedAlias:
    """The numbers as a table of one column; ``kind`` is the type of the column that they are compared with."""
    if conn.dialect.name == "postgresql":
        array = bindparam(None, list(numbers), ARRAY(kind), unique=True)
        return func.unnest(array).table_valued("number", name=name).render_derived()
    return func.json_each(json.dumps(list(numbers))).table_valued(column("value", Integer), name=name)


def among(conn: AsyncConnection, value: ColumnElement[int], numbers: Sequence[int]) -> ColumnElement[bool]:
    """``value IN numbers``."""
    if conn.dialect.name == "postgresql":
        return value == func.any(bindparam(None, list(numbers), ARRAY(BigInteger), unique=True))
    return value.in_(select(number_table(conn, numbers, BigInteger, name="among").c[0]))
