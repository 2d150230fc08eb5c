"""What a test can break: refuse a call, lose its answer, delay it, forget acknowledgements, cut streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]

When = Callable[[Any], bool]


@dataclass(slots=True)
class Fault:
    """One broken thing. ``times`` counts down; None breaks for ever, until ``Faults.clear``."""

    method: str
    code: Any
    times: int | None
    when: When
    loses_answer: bool
    met: int = 0

    def meets(self, method: str, request: Any) -> bool:
        if self.method != method or self.times == 0 or not self.when(request):
            return False
        self.times = self.times if self.times is None else self.times - 1
        self.met += 1
        return True


@dataclass(slots=True)
class Faults:
    """The switches. Everything is off at first.

    ``drops_acks``: acknowledgements are answered as done and forgotten. ``delay_s``: added to every unary call.
    ``deadline_scale``: how long a second of an ack deadline lasts, so that leases run out within a test.
    """

    drops_acks: bool = False
    delay_s: float = 0.0
    deadline_scale: float = 1.0
    listed: list[Fault] = field(default_factory=list)

    def fail(
        self,
        method: str,
        code: Any = grpc.StatusCode.UNAVAILABLE,
        *,
        times: int | None = 1,
        when: When = lambda request: True,
    ) -> Fault:
        """Refuse calls of a method (``Publish``, ``Acknowledge``, …) without doing anything."""
        return self._add(Fault(method, code, times, when, loses_answer=False))

    def lose_answer(
        self,
        method: str,
        code: Any = grpc.StatusCode.UNAVAILABLE,
        *,
        times: int | None = 1,
        when: When = lambda request: True,
    ) -> Fault:
        """Do what a call asks, then answer with an error: the client cannot know that it was done."""
        return self._add(Fault(method, code, times, when, loses_answer=True))

    def clear(self) -> None:
        """Mend everything; the scale of time stays."""
        self.drops_acks, self.delay_s = False, 0.0
        self.listed.clear()

    def _add(self, fault: Fault) -> Fault:
        self.listed.append(fault)
        return fault

    async def before(self, method: str, request: Any, context: Any) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._meet(method, request, context, loses_answer=False)

    async def after(self, method: str, request: Any, context: Any) -> None:
        await self._meet(method, request, context, loses_answer=True)

    async def _meet(self, method: str, request: Any, context: Any, *, loses_answer: bool) -> None:
        for fault in self.listed:
            if fault.loses_answer == loses_answer and fault.meets(method, request):
                await context.abort(fault.code, f"{method}: broken by the test")
