"""Lists of numbers in statements: one parameter whatever their count, so that the text, and its plan, stay the same.

An ``IN`` with one parameter per number is compiled again for each count, by SQLAlchemy and by the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, String, TableValuedAlias, any_, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from hub.store.types import BigInt


def as_numbers(dialect: str, numbers: Iterable[int]) -> object:
    """The value to bind for ``among`` and ``number_table``."""
    return list(numbers) if dialect == "postgresql" else json.dumps(list(numbers))


def among(dialect: str, value: ColumnElement[int], name: str) -> ColumnElement[bool]:
    """``value`` is one of the numbers of the parameter ``name``."""
    if dialect == "postgresql":
        return value == any_(bindparam(name, type_=ARRAY(BigInteger)))
    return value.in_(select(number_table(dialect, name).c[0]))


def number_table(dialect: str, name: str, kind: TypeEngine[Any] | None = None) -> TableValuedAlias:
    """The numbers of the parameter ``name`` as a table of that name and one column."""
    if dialect == "postgresql":
        numbers = func.unnest(bindparam(name, type_=ARRAY(kind or BigInteger())))
        return numbers.table_valued(column("number", BigInt), name=name).render_derived()
    values = func.json_each(bindparam(name, type_=String))
    return values.table_valued(column("value", BigInt), name=name)
