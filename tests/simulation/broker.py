"""What befalls the broker of a run, and those who read its queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.transports import Confirmed, NotConfirmed, OutboundMessage, PublishResult, TransportUnavailableError
from hub.transports.keyorder import believed
from tests.simulation.life import Life


def _transport_of(life: Life) -> Any:
    return None if life.hub is None or life.gate.is_dead else life.hub.transport


def restarted(life: Life, times: int) -> None:
    """So often it confirms nothing, and lets nobody read; of some it has taken the messages all the same."""
    if (transport := _transport_of(life)) is None:
        return
    publish, hand_out = transport.publish, transport._hand_out
    to_publish = to_read = times

    async def broken(messages: Any, **options: Any) -> Any:
        nonlocal to_publish
        if to_publish <= 0:
            return await publish(messages, **options)
        to_publish -= 1
        if to_publish % 2:
            await publish(messages, **options)
        raise TransportUnavailableError("the broker was started again")

    async def cut(queue: str, most: int) -> Any:
        nonlocal to_read
        if to_read <= 0:
            return await hand_out(queue, most)
        to_read -= 1
        raise TransportUnavailableError("the broker was started again")

    transport.publish, transport._hand_out = broken, cut


def full(life: Life, times: int) -> None:
    """So often it refuses every second message; of some of these it has a copy all the same."""
    if (transport := _transport_of(life)) is None:
        return
    publish = transport.publish
    left = times

    async def refusing(messages: Sequence[OutboundMessage], **options: Any) -> list[PublishResult]:
        nonlocal left
        if left <= 0:
            return list(await publish(messages, **options))
        left -= 1
        said: list[PublishResult] = [
            NotConfirmed("the broker has no room") if place % 2 else Confirmed() for place in range(len(messages))
        ]
        said = believed(messages, said)
        taken = [message for message, result in zip(messages, said, strict=True) if isinstance(result, Confirmed)]
        answers = iter(await publish(taken, **options))
        if left % 2:
            await publish([one for one in messages if one not in taken], **options)
        return [next(answers) if isinstance(result, Confirmed) else result for result in said]

    transport.publish = refusing


def consumer_gone(life: Life, times: int) -> None:
    """What was read of the queues is handed out again: nobody has heard that it was read."""
    if (transport := _transport_of(life)) is None:
        return
    acknowledge = transport._acknowledge
    left = times

    async def lost(queue: str, ids: Any) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            raise TransportUnavailableError("the consumer is gone")
        await acknowledge(queue, ids)

    transport._acknowledge = lost


def consumer_silent(life: Life, times: int) -> None:
    """What was handed out never arrives, and nobody says so: its reader sits before a queue that seems empty."""
    if (transport := _transport_of(life)) is None:
        return
    hand_out = transport._hand_out
    left = times

    async def nothing(queue: str, most: int) -> Any:
        nonlocal left
        handed_out = await hand_out(queue, most)
        if left > 0 and handed_out:
            left -= 1
            return []
        return handed_out

    transport._hand_out = nothing
