"""What transaction files add to the capability.

Begin with ``files.py`` (a file is announced, fetched and read), ``files_layout.py`` (what is in it), ``comparing.py``
(how it agrees with the books) and ``reconciling.py`` (how a whole time does).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.paypay import tables_files
from handlers.paypay.files import FETCH, READ, fetch_file, hear_of_file, order_file
from handlers.paypay.files_day import check_day
from handlers.paypay.files_reading import read_file
from hub.capability import HandlerSpec
from schemas.paypay_files import FileFetch, FileRead

__all__ = ["EMITS", "HANDLERS", "tables_files"]

HANDLERS: Final[Mapping[str, HandlerSpec]] = {
    "hear_of_file": hear_of_file,
    "fetch_file": fetch_file,
    "read_file": read_file,
    "order_file": order_file,
    "check_day": check_day,
}
EMITS: Final[Mapping[str, type[BaseModel]]] = {FETCH: FileFetch, READ: FileRead}
