"""What watching the bank adds to the capability: the poll of the statement, and what follows from it.

Begin with ``polling.py`` (what no webhook brought) and ``reconciling.py`` (the statement against the books).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.sepay import tables_polls
from handlers.sepay.oauth import sepay_oauth2
from handlers.sepay.polling import poll_statement
from hub.capability import HandlerSpec
from hub.ingress.schemes import SchemeFactory

__all__ = ["HANDLERS", "SCHEMAS", "SCHEMES", "tables_polls"]

HANDLERS: Final[Mapping[str, HandlerSpec]] = {"poll_statement": poll_statement}
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {}
SCHEMES: Final[Mapping[str, SchemeFactory]] = {"sepay_oauth2": sepay_oauth2}
