"""One request by somebody who is signed in, what may be answered, and what a group of pages consists of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from aiohttp import web

from hub.console.sessions import Session
from hub.errors import UsageError
from hub.ingress.tokens import Role
from hub.operate.lookup import NUMBER_DIGITS_MAX
from hub.texts import is_storable

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.console.app import Console

TEXT_CHARS_MAX = 2_000
"""What a field of a form may hold; a payload has a bound of its own."""
DIGITS = rf"[0-9]{{1,{NUMBER_DIGITS_MAX}}}"
"""A number as a part of a path."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: its template, its title and what the template is given."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Done:
    """What an action has done, in a sentence, and where to go on."""

    sentence: str
    to: str


Answer: TypeAlias = "Shown | Done | web.StreamResponse"
Handler: TypeAlias = "Callable[[Visit], Awaitable[Answer]]"


@dataclass(frozen=True, slots=True)
class Place:
    """One path of the console: who may go there and what it does.

    A GET looks and changes nothing; a POST acts, and comes with the token of the session's forms.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    role: Role = Role.VIEWER


@dataclass(frozen=True, slots=True)
class Group:
    """Some pages that belong together. ``label`` is shown in the navigation, where there is one."""

    name: str
    places: Sequence[Place]
    label: str = ""
    path: str = ""
    badge: str = ""
    """The name of the number that is shown beside the label."""


class Visit:
    """One request. ``base`` is the path of the console."""

    def __init__(self, console: Console, request: web.Request, session: Session, form: Mapping[str, Any]) -> None:
        self.console = console
        self.request = request
        self.session = session
        self._form = form

    @property
    def hub(self) -> Hub:
        return self.console.hub

    @property
    def actor(self) -> str:
        """Whose name goes on record."""
        return self.session.name

    def asked(self, name: str) -> str | None:
        """A parameter of the query, without spaces around it; None when it is absent or empty. Raises UsageError."""
        return expect_storable(name, self.request.query.get(name, "").strip()[:TEXT_CHARS_MAX]) or None

    def number(self, name: str) -> int | None:
        """A parameter of the query as a whole number from 0. Raises UsageError."""
        text = self.asked(name)
        return None if text is None else whole_number(name, text)

    def numbers(self, name: str) -> list[int]:
        """All fields of this name in the form as whole numbers from 0. Raises UsageError."""
        return [whole_number(name, text) for text in self.each(name)]

    def told(self, name: str, *, chars_max: int = TEXT_CHARS_MAX) -> str:
        """A field of the form, without spaces around it. Raises UsageError when it is too long, or holds a NUL."""
        value = self._form.get(name, "")
        text = value.strip() if isinstance(value, str) else ""
        if len(text) > chars_max:
            raise UsageError(f"{name}: expected at most {chars_max} characters")
        return expect_storable(name, text)

    def each(self, name: str) -> list[str]:
        """All fields of this name in the form."""
        getall = getattr(self._form, "getall", None)
        values = getall(name, []) if getall is not None else []
        return [value for value in values if isinstance(value, str)]

    def place(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    @property
    def reason(self) -> str:
        """Why this is done. Raises UsageError when it is not said."""
        reason = self.told("reason")
        if not reason:
            raise UsageError("expected a reason, found none: it is kept for those who ask later")
        return reason

    def wake(self, lanes: Sequence[int]) -> None:
        """Tell the workers of this process that these lanes have work."""
        self.hub.to_deliver.add(set(lanes))


def expect_storable(name: str, text: str) -> str:
    """The text itself. Raises UsageError where no database can hold it, nor be asked for it."""
    if not is_storable(text):
        raise UsageError(f"{name}: expected text without NUL or halves of surrogate pairs")
    return text


def whole_number(name: str, text: str) -> int:
    """A number from outside, from 0 on. Raises UsageError, which calls it ``name``."""
    if not (text.isascii() and text.isdigit()) or len(text) > NUMBER_DIGITS_MAX:
        raise UsageError(f"{name}: expected a whole number, found {text[:40]!r}")
    return int(text)
