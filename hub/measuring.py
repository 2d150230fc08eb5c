"""What capabilities measure of their own state: asked from time to time, and handed to whoever scrapes.

A capability that cannot answer has no figures until it can: an old one would look like a good one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hub.capability import Capability
from hub.signal import is_set_within
from hub.store.words import words_for_logs

if TYPE_CHECKING:
    from hub.api import HubApi

LOOK_S: Final = 30.0
ANSWER_S_MAX: Final = 10.0
"""How long a capability may take; what asks for more must not be asked every half minute."""

FAILED = Counter("hub_measures_failed_total", "Times that a capability could not say how it is", ["capability"])

log = structlog.get_logger(__name__)


class Measuring(Collector):
    """Asks every capability that measures something, and keeps the answers until the next time."""

    def __init__(self, members: Iterable[Capability], api: HubApi, *, look_s: float = LOOK_S) -> None:
        self._measures = {one.name: one.measures for one in members if one.measures is not None}
        self._api = api
        self._look_s = look_s
        self._found: dict[str, Sequence[Metric]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Look until ``stopping`` is set."""
        # Not at once: a hub that starts has better to do, and one that lives for a moment is never asked.
        while not await is_set_within(stopping, self._look_s):
            await self.look()

    async def look(self) -> None:
        """Ask each once."""
        for name, measure in self._measures.items():
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    self._found[name] = await measure(self._api)
            except Exception as error:
                # Also a mistake of the capability's own: it must not end the hub.
                self._found.pop(name, None)
                FAILED.labels(capability=name).inc()
                log.warning("measures_failed", capability=name, error=words_for_logs(error))

    def collect(self) -> Iterable[Metric]:
        """What was found last."""
        return [metric for found in self._found.values() for metric in found]
