"""Streaming pull: hand out within the reader's limits, take acknowledgements, end when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.any_pb2 import Any as AnyMessage  # type: ignore[import-untyped]
from google.pubsub_v1 import types
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from tests.support.pubsub_server.faults import Faults
from tests.support.pubsub_server.state import RefusedError, State
from tests.support.pubsub_server.subscriptions import Limits, Subscription

LOOK_S_MAX = 0.5
"""How long a stream waits at most before it looks for leases that have run out."""

Response = types.StreamingPullResponse.pb()


class Streams:
    """Every open streaming pull."""

    def __init__(self, state: State, faults: Faults) -> None:
        self._state = state
        self._faults = faults
        self._ends: dict[object, asyncio.Future[Any]] = {}

    @property
    def open(self) -> int:
        return len(self._ends)

    def cut(self, code: Any = grpc.StatusCode.UNAVAILABLE) -> int:
        """End all streams with this status."""
        ends = [end for end in self._ends.values() if not end.done()]
        for end in ends:
            end.set_result(code)
        return len(ends)

    async def pull(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """One stream. Its leases outlive it, as they do at the real service."""
        first = await anext(aiter(requests))
        await self._faults.before("StreamingPull", first, context)
        try:
            subscription = self._state.subscription(first.subscription)
        except RefusedError as refused:
            await context.abort(refused.code, str(refused))
        end: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reader = object()
        self._ends[reader] = end
        listening = asyncio.create_task(self._listen(requests, subscription, end))
        try:
            async for answer in self._answers(first, subscription, reader, end):
                yield answer
            if end.result() is not None:
                await context.abort(end.result(), "The StreamingPull stream closed; reconnect.")
        finally:
            self._ends.pop(reader, None)
            listening.cancel()
            subscription.changed.set()

    async def _answers(
        self, first: Any, subscription: Subscription, reader: object, end: asyncio.Future[Any]
    ) -> AsyncIterator[Any]:
        limits = Limits(first.max_outstanding_messages, first.max_outstanding_bytes)
        properties = Response.SubscriptionProperties(
            exactly_once_delivery_enabled=subscription.config.enable_exactly_once_delivery,
            message_ordering_enabled=subscription.config.enable_message_ordering,
        )
        yield Response(subscription_properties=properties)
        while not end.done():
            if first.subscription not in self._state.subscriptions:
                end.set_result(grpc.StatusCode.NOT_FOUND)
                return
            subscription.changed.clear()
            deadline_s = first.stream_ack_deadline_seconds * self._faults.deadline_scale
            if found := subscription.hand_out(reader, limits, deadline_s):
                yield Response(received_messages=found, subscription_properties=properties)
                # The last look stole the signal from other streams, which may have room.
                subscription.changed.set()
                await asyncio.sleep(0)
                continue
            await _changed(subscription, end)

    async def _listen(self, requests: AsyncIterator[Any], subscription: Subscription, end: asyncio.Future[Any]) -> None:
        """Until the client closes its side, which ends the stream without an error."""
        async for request in requests:
            if request.ack_ids and not self._faults.drops_acks:
                subscription.acknowledge(request.ack_ids)
            pairs = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
            for ack_id, deadline_s in pairs:
                subscription.modify([ack_id], deadline_s * self._faults.deadline_scale)
        if not end.done():
            end.set_result(None)


async def _changed(subscription: Subscription, end: asyncio.Future[Any]) -> None:
    """Wait for a change, the end, or the next lease that runs out; at most for a moment."""
    wait_s, now = LOOK_S_MAX, asyncio.get_running_loop().time()
    if (expiry := subscription.next_expiry) is not None:
        wait_s = max(0.0, min(wait_s, expiry - now))
    changed = asyncio.ensure_future(subscription.changed.wait())
    try:
        await asyncio.wait({changed, end}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        changed.cancel()


def stale_ack_ids(stale: dict[str, str], message: str) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that names ack ids with what is wrong with each; ``message`` is the status's own."""
    info = error_details_pb2.ErrorInfo(reason="INVALID_ACK_IDS", domain="pubsub.googleapis.com", metadata=stale)
    packed = AnyMessage()
    packed.Pack(info)
    status = status_pb2.Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message=message, details=[packed])
    return (("grpc-status-details-bin", status.SerializeToString()),)
