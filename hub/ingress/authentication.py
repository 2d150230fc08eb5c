"""What an authentication scheme sees and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

from hub.event import Verdict


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True, kw_only=True)
class Request:
    """One HTTP request as it came: header names in lower case, the body byte for byte, the sender's address.

    Neither headers nor body are shown by ``repr``: they hold secrets and personal data.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """How the sender was proven; None means refused. ``reason`` is for the operator and is never sent."""

    verdict: Verdict | None
    reason: str


class Scheme(Protocol):
    """Proves the sender of a request from its headers and raw bytes. Quick, pure, and silent about secrets."""

    def decide(self, request: Request, now: datetime) -> Decision: ...


@runtime_checkable
class NeedsHeaders(Protocol):
    """A scheme that leaves the proof to a handler and therefore keeps these headers with the event."""

    @property
    def headers_kept(self) -> frozenset[str]: ...


@runtime_checkable
class SecretHeaders(Protocol):
    """A scheme that reads secrets from these headers, whatever their names look like: they are never kept."""

    @property
    def headers_secret(self) -> frozenset[str]: ...


SchemeFactory: TypeAlias = Callable[[Mapping[str, object]], Scheme]
"""Builds a scheme from the parameters under ``auth:`` (without ``scheme``). Raises ConfigError for a wrong one."""


def refused(reason: str) -> Decision:
    """The sender is not proven, for this reason."""
    return Decision(None, reason)
