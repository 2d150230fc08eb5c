"""What is declared at RabbitMQ, and what is said where the broker has something else."""

from __future__ import annotations

import asyncio

import aiormq
import pytest

from hub.errors import ConfigError
from hub.transports import Binding, Confirmed, PlanState, QueueSpec, Topology, TransportUnavailableError
from hub.transports.rabbit import RabbitTransport
from hub.transports.rabbit.objects import DEAD_LETTERS, ExchangeBinding, arguments_of, objects_of
from hub.transports.rabbit.record import BindingRecord
from tests.integration.transports.rabbit_parts import Rabbit, Taking, confirmed, consuming, count_of
from tests.support.patience import until


async def test_a_difference_is_told_with_both_sides(rabbit: Rabbit) -> None:
    async with rabbit.raw() as channel:
        await channel.queue_declare(rabbit("orders"), durable=True)
        await channel.exchange_declare(rabbit("shop"), exchange_type="fanout", durable=True)
    transport = rabbit.transport()

    with pytest.raises(ConfigError) as refused:
        await rabbit.declare(transport, rabbit.topology())

    exchange, queue = (str(problem) for problem in refused.value.problems)
    assert f"exchange {rabbit('shop')}: the broker has it with type = 'fanout', routing.yaml asks for" in exchange
    # The broker names the first argument that differs, and no other one.
    assert f"queue {rabbit('orders')}: the broker has it with x-" in queue
    assert "routing.yaml asks for x-" in queue
    assert "x-queue-type=quorum" in queue


async def test_a_refused_topology_is_not_what_is_repaired_later(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    with pytest.raises(ConfigError):
        await transport.declare(Topology.of([QueueSpec(rabbit("orders"), type="classic")], []))

    async with rabbit.raw() as channel:
        await channel.queue_delete(rabbit("orders"))

    await confirmed(transport, [rabbit.message()])


async def test_a_plan_says_what_would_be_made_and_makes_nothing(rabbit: Rabbit) -> None:
    transport = rabbit.transport()
    topology = rabbit.topology()

    missing = await transport.plan(topology)
    async with rabbit.raw() as channel:
        with pytest.raises(Exception, match="NOT_FOUND"):
            await channel.queue_declare(rabbit("orders"), passive=True)
    await rabbit.declare(transport, topology)
    there = await transport.plan(topology)
    other = await transport.plan(Topology.of([QueueSpec(rabbit("orders"), type="classic")], []))

    mine = {rabbit("orders"), rabbit("shop")}
    assert {one.state for one in missing if one.name in mine} == {PlanState.MISSING}
    assert {one.state for one in there} == {PlanState.MATCHES}
    states = {one.kind: one.state for one in other if rabbit.suffix in one.name}
    assert states == {"queue": PlanState.DIFFERS, "binding": PlanState.STALE}


async def test_bindings_that_the_rules_drop_go_and_those_of_others_stay(rabbit: Rabbit) -> None:
    before = await rabbit.ready()
    async with rabbit.raw() as channel:
        await channel.queue_bind(rabbit("orders"), rabbit("shop"), "theirs.#")
    # Another process, after a restart: what was made is on record.
    after = rabbit.transport()

    queue = QueueSpec(rabbit("orders"), single_consumer=True)
    newer = Topology.of([queue], [Binding(rabbit("shop"), queue.name, "new.#")])
    await rabbit.declare(after, newer)
    # A start takes nothing away: it may be the one with the older rules.
    await confirmed(after, [rabbit.message(), rabbit.message("new.paid")])

    await rabbit.declare(after, newer, takes_away=True)

    lost, new, theirs = await after.publish(
        [rabbit.message(key, key=key) for key in ("orders.paid", "new.paid", "theirs.paid")]
    )
    assert "no queue is bound" in getattr(lost, "reason", "")
    assert (new, theirs) == (Confirmed(), Confirmed())
    # One that still goes by the old rules, as during a rolling restart, repairs what it needs and spoils nothing.
    await confirmed(before, [rabbit.message()])
    await confirmed(after, [rabbit.message("new.paid")])


async def test_what_the_broker_rejects_is_kept_as_a_dead_letter(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    message = rabbit.message()
    await confirmed(transport, [message])
    async with rabbit.raw() as channel:
        before = await count_of(channel, DEAD_LETTERS)
        taken = await channel.queue_declare(rabbit("orders"), passive=True)
        assert taken.message_count is not None

        async def reject(delivered: object) -> None:
            await channel.basic_reject(delivered.delivery_tag, requeue=False)  # type: ignore[attr-defined]

        await channel.basic_consume(rabbit("orders"), reject)

        async def is_dead() -> bool:
            return await count_of(channel, DEAD_LETTERS) > before

        await until(is_dead)
    assert message.message_id in [one.message_id for one in await transport.queue_read(DEAD_LETTERS, limit=1_000)]
    await transport.queue_ack(DEAD_LETTERS, [message.message_id])


@pytest.mark.parametrize("kind", ["quorum", "classic", "stream"])
async def test_every_kind_of_queue_is_declared_and_fed(rabbit: Rabbit, kind: str) -> None:
    transport = rabbit.transport()
    spec = QueueSpec(rabbit("orders"), type=kind, arguments=(("x-max-length-bytes", 1_000_000),))  # type: ignore[arg-type]
    if kind == "stream":
        spec = QueueSpec(rabbit("orders"), type="stream")

    await rabbit.declare(transport, rabbit.topology(orders=spec))

    await confirmed(transport, [rabbit.message()])


def test_arguments_have_the_last_word() -> None:
    spec = QueueSpec("q", arguments=(("x-delivery-limit", None), ("x-max-length", 7)))

    assert arguments_of(spec) == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-max-length": 7,
    }


async def test_a_queue_of_somebody_else_is_awaited_and_never_made(rabbit: Rabbit) -> None:
    transport = rabbit.transport()
    taking = Taking()
    await transport.declare(Topology.of([QueueSpec(rabbit("theirs"), is_foreign=True)], []))

    async with consuming(transport, rabbit("theirs"), taking.batch):

        async def is_told() -> bool:
            return "NOT_FOUND" in await transport.state()

        await until(is_told)
        async with rabbit.raw() as channel:
            await channel.queue_declare(rabbit("theirs"), durable=True)
            await channel.basic_publish(b"{}", routing_key=rabbit("theirs"))
            await until(lambda: taking.seen)
            assert (taking.seen[0].message_id or "") != ""
    async with rabbit.raw() as channel:
        await channel.queue_delete(rabbit("theirs"))


async def test_a_queue_that_is_partitioned_no_longer_feeds_its_partitions_no_longer(rabbit: Rabbit) -> None:
    parted = QueueSpec(rabbit("orders"), partitions=2, partition_path="headers.x-customer")
    bound = ExchangeBinding(rabbit("shop"), f"{parted.name}.partitions", "#")
    record = BindingRecord(rabbit.store)
    async with rabbit.raw() as channel:
        # As partitions make it, which need a plugin that the broker may not have.
        for name in (bound.source, bound.target):
            await channel.exchange_declare(name, exchange_type="topic", durable=True)
        await channel.queue_declare(rabbit("orders.0"), durable=True)
        await channel.queue_bind(rabbit("orders.0"), bound.target, "#")
        await channel.exchange_bind(bound.target, bound.source, bound.pattern)
    assert bound.on_record in objects_of(Topology.of([parted], [Binding(bound.source, parted.name, "#")])).recorded
    await record.add([bound.on_record])

    transport = rabbit.transport()
    await rabbit.declare(transport, rabbit.topology(), takes_away=True)

    assert bound.on_record not in await record.all()
    await confirmed(transport, [rabbit.message()])
    async with rabbit.raw() as channel:
        assert (await channel.queue_declare(rabbit("orders.0"), passive=True)).message_count == 0
        await channel.queue_delete(rabbit("orders.0"))
        await channel.exchange_delete(bound.target)


async def test_partitions_need_a_plugin_and_say_so(rabbit: Rabbit) -> None:
    transport = rabbit.transport()
    queue = QueueSpec(rabbit("orders"), partitions=2, partition_path="headers.x-customer")
    topology = Topology.of([queue], [Binding(rabbit("shop"), queue.name, "#")])

    async with rabbit.raw() as channel:
        try:
            await channel.exchange_declare(rabbit("hash"), exchange_type="x-consistent-hash")
        except aiormq.AMQPError:
            has_plugin = False
        else:
            has_plugin = True
            await channel.exchange_delete(rabbit("hash"))

    if has_plugin:
        await rabbit.declare(transport, topology)
        await confirmed(transport, [rabbit.message(key=str(number)) for number in range(8)])
    else:
        with pytest.raises(ConfigError, match="rabbitmq_consistent_hash_exchange"):
            await rabbit.declare(transport, topology)


async def test_neither_a_password_nor_a_user_is_ever_shown(
    rabbit: Rabbit, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = RabbitTransport("amqp://guest:hunter2@127.0.0.1:5672/", rabbit.store, prefetch=1)
    away = RabbitTransport("amqp://guest:hunter2@127.0.0.1:1/", rabbit.store, prefetch=1)

    with pytest.raises(ConfigError, match="refuses the login") as refused:
        await wrong.declare(rabbit.topology())
    with pytest.raises(TransportUnavailableError) as missing:
        await away.declare(rabbit.topology())
    with pytest.raises(ConfigError, match="expected amqp") as malformed:
        RabbitTransport("amqp://guest:hunter2@:x/", rabbit.store, prefetch=1)
    for transport in (wrong, away):
        await transport.close()

    printed = capsys.readouterr()
    said = [str(one.value) for one in (refused, missing, malformed)]
    assert "hunter2" not in "\n".join([*said, caplog.text, printed.out, printed.err])


async def test_declaring_side_by_side_ends_alike(rabbit: Rabbit) -> None:
    transports = [rabbit.transport() for _ in range(3)]

    await asyncio.gather(*(rabbit.declare(one, rabbit.topology()) for one in transports))

    assert {one.state for one in await transports[0].plan(rabbit.topology())} == {PlanState.MATCHES}
