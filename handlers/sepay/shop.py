"""What the shop adds to the wallet: its handlers, its messages and its tables, for ``capability``.

Begin with ``ordering.py`` (somebody orders) and ``paying.py`` (an order is paid).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.sepay import table_views, tables_licenses, tables_orders
from hub.capability import HandlerSpec

__all__ = ["HANDLERS", "SCHEMAS", "table_views", "tables_licenses", "tables_orders"]

HANDLERS: Final[Mapping[str, HandlerSpec]] = {}
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {}
