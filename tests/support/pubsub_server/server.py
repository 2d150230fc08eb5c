"""The gRPC side: each method of the protocol as one short function, served by ``grpc.aio``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from google.pubsub_v1 import types

from tests.support.pubsub_server.faults import Faults
from tests.support.pubsub_server.state import RefusedError, State
from tests.support.pubsub_server.stream import Streams, stale_ack_ids
from tests.support.pubsub_server.subscriptions import Limits

PULL_S_MAX = 0.3
PUBLISHER, SUBSCRIBER = "google.pubsub.v1.Publisher", "google.pubsub.v1.Subscriber"
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]

Call = Callable[[Any], Awaitable[Any]]


class PubSubServer:
    """Serves topics and subscriptions from memory. ``state`` shows everything, ``faults`` breaks things."""

    def __init__(self) -> None:
        self.state = State()
        self.faults = Faults()
        self.calls: list[tuple[str, Any]] = []
        """Every unary call that came, with its request."""
        self._streams = Streams(self.state, self.faults)
        self._server: Any = None
        self.port = 0

    @property
    def address(self) -> str:
        """What PUBSUB_EMULATOR_HOST is set to."""
        return f"127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listen; a restarted server keeps its port and what it holds."""
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((self._publisher(), self._subscriber()))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port or self.port}")
        await self._server.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Go away, cutting what is open."""
        self._streams.cut()
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    def cut_streams(self, code: Any = grpc.StatusCode.UNAVAILABLE) -> int:
        """End every streaming pull, as the service does now and then; the answer says how many there were."""
        return self._streams.cut(code)

    @property
    def streams_open(self) -> int:
        return self._streams.open

    def _publisher(self) -> Any:
        t = types
        return grpc.method_handlers_generic_handler(
            PUBLISHER,
            {
                "CreateTopic": self._unary("CreateTopic", t.Topic, self._create_topic),
                "GetTopic": self._unary("GetTopic", t.GetTopicRequest, self._get_topic),
                "ListTopics": self._unary("ListTopics", t.ListTopicsRequest, self._list_topics),
                "ListTopicSubscriptions": self._unary(
                    "ListTopicSubscriptions", t.ListTopicSubscriptionsRequest, self._list_topic_subscriptions
                ),
                "DeleteTopic": self._unary("DeleteTopic", t.DeleteTopicRequest, self._delete_topic),
                "Publish": self._unary("Publish", t.PublishRequest, self._publish),
            },
        )

    def _subscriber(self) -> Any:
        t = types
        request = t.StreamingPullRequest.pb()
        return grpc.method_handlers_generic_handler(
            SUBSCRIBER,
            {
                "CreateSubscription": self._unary("CreateSubscription", t.Subscription, self._create_subscription),
                "GetSubscription": self._unary("GetSubscription", t.GetSubscriptionRequest, self._get_subscription),
                "ListSubscriptions": self._unary(
                    "ListSubscriptions", t.ListSubscriptionsRequest, self._list_subscriptions
                ),
                "DeleteSubscription": self._unary(
                    "DeleteSubscription", t.DeleteSubscriptionRequest, self._delete_subscription
                ),
                "Pull": self._unary("Pull", t.PullRequest, self._pull),
                "Acknowledge": self._unary("Acknowledge", t.AcknowledgeRequest, self._acknowledge),
                "ModifyAckDeadline": self._unary("ModifyAckDeadline", t.ModifyAckDeadlineRequest, self._modify),
                "StreamingPull": grpc.stream_stream_rpc_method_handler(
                    self._streams.pull, request.FromString, lambda answer: answer.SerializeToString()
                ),
            },
        )

    def _unary(self, name: str, request: Any, call: Call) -> Any:
        async def handle(message: Any, context: Any) -> Any:
            self.calls.append((name, message))
            await self.faults.before(name, message, context)
            try:
                answer = await call(message)
            except RefusedError as refused:
                if isinstance(refused, StaleAckIdsError):
                    context.set_trailing_metadata(stale_ack_ids(refused.stale, str(refused)))
                await context.abort(refused.code, str(refused))
            await self.faults.after(name, message, context)
            return answer

        pb = request.pb()
        return grpc.unary_unary_rpc_method_handler(handle, pb.FromString, lambda answer: answer.SerializeToString())

    async def _create_topic(self, request: Any) -> Any:
        return self.state.create_topic(request)

    async def _get_topic(self, request: Any) -> Any:
        return self.state.topic(request.topic)

    async def _list_topics(self, request: Any) -> Any:
        mine = [topic for name, topic in self.state.topics.items() if name.startswith(f"{request.project}/")]
        return types.ListTopicsResponse.pb()(topics=mine)

    async def _list_topic_subscriptions(self, request: Any) -> Any:
        self.state.topic(request.topic)
        return types.ListTopicSubscriptionsResponse.pb()(subscriptions=self.state.of_topic(request.topic))

    async def _delete_topic(self, request: Any) -> Any:
        self.state.delete_topic(request.topic)
        return Empty()

    async def _publish(self, request: Any) -> Any:
        return types.PublishResponse.pb()(message_ids=self.state.publish(request.topic, request.messages))

    async def _create_subscription(self, request: Any) -> Any:
        return self.state.create_subscription(request)

    async def _get_subscription(self, request: Any) -> Any:
        return self.state.subscription(request.subscription).config

    async def _list_subscriptions(self, request: Any) -> Any:
        held = self.state.subscriptions.items()
        mine = [one.config for name, one in held if name.startswith(f"{request.project}/")]
        return types.ListSubscriptionsResponse.pb()(subscriptions=mine)

    async def _delete_subscription(self, request: Any) -> Any:
        self.state.delete_subscription(request.subscription)
        return Empty()

    async def _pull(self, request: Any) -> Any:
        subscription = self.state.subscription(request.subscription)
        deadline_s = subscription.config.ack_deadline_seconds * self.faults.deadline_scale
        reader, end = object(), asyncio.get_running_loop().time() + PULL_S_MAX
        while True:
            subscription.changed.clear()
            found = subscription.hand_out(reader, Limits(), deadline_s, at_most=request.max_messages)
            if found or asyncio.get_running_loop().time() >= end:
                return types.PullResponse.pb()(received_messages=found)
            try:
                async with asyncio.timeout_at(end):
                    await subscription.changed.wait()
            except TimeoutError:
                continue

    async def _acknowledge(self, request: Any) -> Any:
        subscription = self.state.subscription(request.subscription)
        if not self.faults.drops_acks:
            _refuse_stale(subscription.acknowledge(request.ack_ids))
        return Empty()

    async def _modify(self, request: Any) -> Any:
        subscription = self.state.subscription(request.subscription)
        deadline_s = request.ack_deadline_seconds * self.faults.deadline_scale
        _refuse_stale(subscription.modify(request.ack_ids, deadline_s))
        return Empty()

    def requests(self, method: str) -> Sequence[Any]:
        """The requests of one method, in the order in which they came."""
        return [request for name, request in self.calls if name == method]


class StaleAckIdsError(RefusedError):
    """Some ack ids of an exactly-once subscription are no longer valid; the others were done."""

    def __init__(self, stale: dict[str, str]) -> None:
        super().__init__(grpc.StatusCode.FAILED_PRECONDITION, "Some acknowledgement ids in the request were invalid")
        self.stale = stale


def _refuse_stale(stale: dict[str, str]) -> None:
    if stale:
        raise StaleAckIdsError(stale)


@asynccontextmanager
async def serving() -> AsyncIterator[PubSubServer]:
    """A server of one's own while the block runs."""
    server = PubSubServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
