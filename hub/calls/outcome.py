"""What a provider did, as far as we know. A closed set: match on it and end with ``assert_never``.

Source: docs/guarantees.md, "No outcome is guessed".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Settled:
    """It happened, finally. ``data`` holds what the provider said that later steps need; JSON values only."""

    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider refused, finally: nothing happened there and this request will never succeed."""

    reason: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider has it and has not decided."""

    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """We do not know: time-out, lost connection, an answer without a verdict. It may have happened."""

    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotFound:
    """Answer of a lookup only: the provider says that this request never reached it.

    ``may_repeat``: nothing can happen twice, as with a read; it need not wait until the first one cannot be under way.
    """

    may_repeat: bool = False


Outcome: TypeAlias = Settled | Declined | Pending | Unknown
LookupOutcome: TypeAlias = Outcome | NotFound

STATE_OF: Mapping[type[LookupOutcome], str] = {
    Settled: "settled",
    Declined: "declined",
    Pending: "pending",
    Unknown: "unknown",
    NotFound: "not_found",
}
_CLASS_OF: Mapping[str, type[Any]] = {state: kind for kind, state in STATE_OF.items()}


def stored_form(outcome: LookupOutcome) -> dict[str, Any]:
    """The outcome as JSON values."""
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in asdict(outcome).items()}


def from_stored(state: str, stored: Mapping[str, Any] | None) -> Outcome:
    """The outcome of a ``calls`` row that has one."""
    kind = _CLASS_OF[state]
    outcome: Outcome = kind(**(stored or {}))
    return outcome
