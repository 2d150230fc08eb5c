"""Sending many messages at once, those of one key one after the other: for a broker that confirms each by itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from hub.transports.base import (
    HELD_BACK,
    Confirmed,
    NotConfirmed,
    OutboundMessage,
    PublishResult,
    TransportUnavailableError,
)

Send = Callable[[OutboundMessage], Awaitable[PublishResult]]


async def send_in_key_order(
    messages: Sequence[OutboundMessage], send: Send, *, in_flight_max: int, timeout_s: float
) -> list[PublishResult]:
    """Send each with ``send``, at most ``in_flight_max`` at once and one per key; answer in the order given.

    The next message of a key leaves only when the one before it is confirmed: that is ``Ability.HALTS_KEY``.
    What has not been answered after ``timeout_s`` seconds is not confirmed. Raises TransportUnavailableError as soon as
    ``send`` does.
    """
    results: list[PublishResult] = [HELD_BACK] * len(messages)
    room = asyncio.Semaphore(in_flight_max)

    async def send_chain(places: Sequence[int]) -> None:
        for place in places:
            async with room:
                results[place] = NotConfirmed(f"no answer within {timeout_s:g} s")  # unless it comes
                results[place] = await send(messages[place])
            if not isinstance(results[place], Confirmed):
                return

    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            for places in _chains(messages):
                group.create_task(send_chain(places))
    except* TransportUnavailableError as group_error:
        raise _first(group_error) from group_error
    except* TimeoutError:
        pass
    return results


def believed(messages: Sequence[OutboundMessage], results: Sequence[PublishResult]) -> list[PublishResult]:
    """The results for a broker that got all messages at once: behind one that did not go, nothing of its key counts.

    What was confirmed behind it has arrived ahead of it; it is sent again, so that the order is restored.
    """
    halted: set[tuple[str, str]] = set()
    answers: list[PublishResult] = []
    for message, result in zip(messages, results, strict=True):
        chain = (message.exchange, message.key)
        answers.append(HELD_BACK if chain in halted else result)
        if not isinstance(result, Confirmed):
            halted.add(chain)
    return answers


def _chains(messages: Sequence[OutboundMessage]) -> list[list[int]]:
    places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for place, message in enumerate(messages):
        places[message.exchange, message.key].append(place)
    return list(places.values())


def _first(group: BaseExceptionGroup[TransportUnavailableError]) -> TransportUnavailableError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TransportUnavailableError)
    return error
