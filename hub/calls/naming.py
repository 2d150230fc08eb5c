"""How a call to a provider is named to people."""

from __future__ import annotations

from typing import Protocol


class Named(Protocol):
    """What a call is named by."""

    @property
    def provider(self) -> str: ...

    @property
    def step(self) -> str: ...

    @property
    def number(self) -> int: ...


def call_name(one: Named) -> str:
    """The provider, the step, and which time it is that the step is sent: ``acme.charge#1``."""
    return name_of_call(one.provider, one.step, one.number)


def name_of_call(provider: str, step: str, number: int) -> str:
    """The same of its parts, for who has them in another form."""
    return f"{provider}.{step}#{number}"
