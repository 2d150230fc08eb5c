"""Publishing: one request per topic and key, one after the other within a key, many keys at once.

A request is taken as a whole or not at all, so that what was refused can be sent again from its first message on.
Pub/Sub's own clients pause a key after a failure until it is resumed; here the key pauses within one call, and the
relay resumes it with the first message that was not confirmed.

Source: cloud.google.com/pubsub/docs/publisher, "Retry requests with ordering keys"; docs/pubsub.md, "Publishing".
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.api_core.exceptions import (
    Aborted,
    DeadlineExceeded,
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
    ServiceUnavailable,
)
from google.pubsub_v1 import types

from hub.clock import Clock
from hub.transports.base import (
    HELD_BACK,
    Confirmed,
    NotConfirmed,
    OutboundMessage,
    PublishResult,
    TransportUnavailableError,
    Unroutable,
)
from hub.transports.pubsub.clients import Clients, broker_errors, first_of, reason_of
from hub.transports.pubsub.messages import MESSAGE_BYTES_MAX, limit_problem, to_pubsub

REQUESTS_IN_FLIGHT_MAX: Final = 100
REQUEST_MESSAGES_MAX: Final = 500
QUICK_TRIES: Final = 3
"""A server that is being replaced answers UNAVAILABLE once or twice; that is no outage."""
QUICK_PAUSE_S: Final = 0.05

_PublishRequest = types.PublishRequest.pb()


@dataclass(slots=True)
class Parcel:
    """One message on its way: where its answer goes, in the protocol's form, and why it cannot go, if so."""

    place: int
    message: Any
    size: int
    problem: str | None


class Sending:
    """One call of ``publish``. ``results`` is filled as answers come, so that a time-out keeps those that did."""

    def __init__(self, clients: Clients, clock: Clock, count: int) -> None:
        self._publisher = clients.publisher
        self._clock = clock
        self._room = asyncio.Semaphore(REQUESTS_IN_FLIGHT_MAX)
        self.results: list[PublishResult] = [HELD_BACK] * count

    async def send(self, trains: Sequence[tuple[str, list[Parcel]]], timeout_s: float) -> None:
        """Send each train (topic, messages of one key). Raises TransportUnavailableError."""
        end = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(end), asyncio.TaskGroup() as group:
                for topic, parcels in trains:
                    group.create_task(self._train(topic, parcels, timeout_s))
        except* TransportUnavailableError as errors:
            raise first_of(errors) from errors
        except* TimeoutError:
            pass

    async def _train(self, topic: str, parcels: list[Parcel], timeout_s: float) -> None:
        for request in _requests(parcels):
            if request[0].problem is not None:
                self.results[request[0].place] = Unroutable(request[0].problem)
                return
            if not await self._request(topic, request, timeout_s):
                return

    async def _request(self, topic: str, parcels: Sequence[Parcel], timeout_s: float) -> bool:
        """True when all of it is confirmed."""
        async with self._room:
            self._answer(parcels, NotConfirmed(f"no answer within {timeout_s:g} s"))  # unless it comes
            verdict = await self._publish(topic, parcels, timeout_s)
        if isinstance(verdict, Unroutable) and len(parcels) > 1:
            # One of them is at fault: those before it go, it is named, those of its key behind it are held back.
            self._answer(parcels, HELD_BACK)
            for parcel in parcels:
                if not await self._request(topic, [parcel], timeout_s) and parcel.message.ordering_key:
                    return False
            return True
        self._answer(parcels, verdict)
        return isinstance(verdict, Confirmed)

    async def _publish(self, topic: str, parcels: Sequence[Parcel], timeout_s: float) -> PublishResult:
        request = types.PublishRequest.wrap(
            _PublishRequest(topic=topic, messages=[parcel.message for parcel in parcels])
        )
        for tries_left in reversed(range(QUICK_TRIES)):
            try:
                with broker_errors():
                    await self._publisher.publish(request=request, retry=None, timeout=timeout_s)
            except TransportUnavailableError as error:
                # A request that ran out of time may be slow alone; the others tell whether the broker is there.
                if isinstance(error.__cause__, DeadlineExceeded):
                    return NotConfirmed(f"no answer within {timeout_s:g} s")
                if not tries_left or not isinstance(error.__cause__, ServiceUnavailable):
                    raise
            except Aborted as error:
                if not tries_left:
                    return NotConfirmed(reason_of(error))
            except NotFound:
                return Unroutable(f"there is no topic {topic}")
            except InvalidArgument as error:
                return Unroutable(f"Pub/Sub cannot take it: {reason_of(error)}")
            except GoogleAPICallError as error:
                return NotConfirmed(reason_of(error))
            else:
                return Confirmed()
            await asyncio.sleep(QUICK_PAUSE_S * 2 ** (QUICK_TRIES - tries_left) * self._clock.jitter())
        raise AssertionError("the last try returns or raises")

    def _answer(self, parcels: Sequence[Parcel], result: PublishResult) -> None:
        for parcel in parcels:
            self.results[parcel.place] = result


def parcel_of(place: int, message: OutboundMessage, problem: str | None) -> Parcel:
    """The message as it goes, or with what keeps it from going."""
    packed = to_pubsub(message)
    return Parcel(place, packed, packed.ByteSize(), problem or limit_problem(packed))


def trains_of(parcels: Sequence[tuple[str, Parcel]]) -> list[tuple[str, list[Parcel]]]:
    """By topic and ordering key. What has no key goes together, a request at a time, unless it has a problem."""
    trains: defaultdict[tuple[str, str], list[Parcel]] = defaultdict(list)
    alone: list[tuple[str, list[Parcel]]] = []
    for topic, parcel in parcels:
        if parcel.problem is not None and not parcel.message.ordering_key:
            alone.append((topic, [parcel]))
        else:
            trains[topic, parcel.message.ordering_key].append(parcel)
    for (topic, key), train in trains.items():
        alone += [(topic, train)] if key else [(topic, request) for request in _requests(train)]
    return alone


def _requests(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """In order, each as large as Pub/Sub takes; a message with a problem stands alone."""
    request: list[Parcel] = []
    size = 0
    for parcel in parcels:
        is_full = len(request) == REQUEST_MESSAGES_MAX or size + parcel.size > MESSAGE_BYTES_MAX
        if request and (is_full or parcel.problem is not None or request[0].problem is not None):
            yield request
            request, size = [], 0
        request.append(parcel)
        size += parcel.size
    if request:
        yield request
