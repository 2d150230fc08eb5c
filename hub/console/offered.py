"""What a capability offers the console: tables to look through, and files to take. The console draws them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from hub.money import Money

if TYPE_CHECKING:
    from hub.api import HubApi


@dataclass(frozen=True, slots=True)
class Mark:
    """A state, shown as a mark."""

    text: str


@dataclass(frozen=True, slots=True)
class EventLink:
    """Leads to an event."""

    event_id: object
    text: str = ""


@dataclass(frozen=True, slots=True)
class PageLink:
    """Leads to a page of the same capability, with these parameters; or, with ``file``, to a file of that page."""

    text: str
    page: str
    query: Mapping[str, str] = field(default_factory=dict)
    file: str = ""


Cell: TypeAlias = "str | int | datetime | Money | Mark | EventLink | PageLink | None"


@dataclass(frozen=True, slots=True)
class OfferedTable:
    """One table. ``more`` are the parameters of the next page, where there is one; ``files`` are links above it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    empty: str = "nothing"
    more: Mapping[str, str] | None = None
    files: Sequence[PageLink] = ()


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """A file to take."""

    name: str
    content_type: str
    body: bytes


Asked: TypeAlias = Mapping[str, str]
"""The parameters of a page, as its form or its links gave them: texts from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedPage:
    """A page of a capability.

    name    its place in the address: letters, digits and dashes
    fields  parameter → label of the form above the table
    table   reads the table; raises UsageError for parameters that make no sense
    files   name → makes a file out of the parameters; operators may take them, and that they did is on record
    """

    name: str
    title: str
    sentence: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    table: Callable[[HubApi, Asked], Awaitable[OfferedTable]]
    files: Mapping[str, Callable[[HubApi, Asked], Awaitable[OfferedFile]]] = field(default_factory=dict)
