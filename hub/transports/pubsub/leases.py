"""Acknowledging, extending and giving back leases by their ack ids, and what the broker says to each.

Only an exactly-once subscription answers for single ack ids; on any other an acknowledgement is a best effort, and a
message whose acknowledgement was lost comes again.

Source: cloud.google.com/pubsub/docs/exactly-once-delivery; google/pubsub/v1/pubsub.proto.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from google.api_core.exceptions import GoogleAPICallError
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]

from hub.transports.base import TransportUnavailableError
from hub.transports.pubsub.clients import CALL_S_MAX, reason_of, within

IDS_PER_REQUEST: Final = 1_000
"""Pub/Sub takes 512 KiB in one of these requests; an ack id has about 200 bytes."""
TRANSIENT: Final = "TRANSIENT_"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Said:
    """What the broker said to ack ids: done, no longer valid, or not decided (to be asked again)."""

    done: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)


class Leases:
    """The leases of one subscription."""

    def __init__(self, subscriber: SubscriberAsyncClient, subscription: str) -> None:
        self._subscriber = subscriber
        self._subscription = subscription

    async def acknowledge(self, ack_ids: Sequence[str]) -> Said:
        """Say that these messages are safe."""

        async def call(some: Sequence[str]) -> None:
            await self._subscriber.acknowledge(
                subscription=self._subscription, ack_ids=list(some), retry=None, timeout=CALL_S_MAX
            )

        return await self._each_chunk(ack_ids, call)

    async def extend(self, ack_ids: Sequence[str], deadline_s: int) -> Said:
        """Keep these messages in hand for so many seconds from now; 0 gives them back at once."""

        async def call(some: Sequence[str]) -> None:
            await self._subscriber.modify_ack_deadline(
                subscription=self._subscription,
                ack_ids=list(some),
                ack_deadline_seconds=deadline_s,
                retry=None,
                timeout=CALL_S_MAX,
            )

        return await self._each_chunk(ack_ids, call)

    async def _each_chunk(self, ack_ids: Sequence[str], call: Callable[[Sequence[str]], Awaitable[None]]) -> Said:
        said = Said()
        for some in _chunks(ack_ids):
            try:
                async with within(CALL_S_MAX):
                    await call(some)
            except (TransportUnavailableError, ValueError):
                # ValueError: Google's library could not make sense of an error's details, and hides the error.
                said.undecided += some
            except GoogleAPICallError as error:
                _sort(some, error, said)
            else:
                said.done += some
        return said


def _sort(ack_ids: Sequence[str], error: GoogleAPICallError, said: Said) -> None:
    """An error that names ack ids was right for all others; one that names none was about the whole request."""
    failures = _failures(error)
    if not failures:
        log.warning("pubsub_ack_refused", error=reason_of(error), messages=len(ack_ids))
        said.undecided += ack_ids
        return
    for ack_id in ack_ids:
        failure = failures.get(ack_id)
        if failure is None:
            said.done.append(ack_id)
        elif failure.startswith(TRANSIENT):
            said.undecided.append(ack_id)
        else:
            said.stale.append(ack_id)


def _failures(error: GoogleAPICallError) -> dict[str, str]:
    """Ack id → what is wrong with it, from the error's details."""
    found: dict[str, str] = {}
    details: Sequence[Any] = error.details
    for detail in details:
        if isinstance(detail, ErrorInfo):
            found.update(detail.metadata)
    return found


def _chunks(ack_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ack_ids), IDS_PER_REQUEST):
        yield ack_ids[start : start + IDS_PER_REQUEST]
