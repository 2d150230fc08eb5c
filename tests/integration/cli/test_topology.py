"""``hub topology``: what would be declared, on the embedded queues and on RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.cli.commanding import Cli
from tests.support.rabbit import own_vhost, raw_channel


@pytest.fixture
def vhost() -> Iterator[str]:
    with own_vhost() as address:
        yield address


def states(items: list[dict[str, str]]) -> set[str]:
    return {one["state"] for one in items}


def test_a_plan_of_the_embedded_queues_tells_what_is_missing_until_it_is_applied(cli: Cli) -> None:
    missing = cli("topology", "plan", "--json")
    applied = cli("topology", "apply", "--json")
    there = cli("topology", "plan", "--json")

    assert (missing.code, applied.code, there.code) == (0, 0, 0)
    assert states(missing.json) == {"missing"}
    assert states(applied.json) == states(there.json) == {"matches"}
    assert {"kind": "queue", "name": "smc.customerEvents", "state": "matches", "detail": ""} in there.json


def test_a_plan_for_rabbitmq_changes_nothing_and_a_difference_is_told(cli: Cli, vhost: str) -> None:
    cli.set({"HUB_BROKER_URL": vhost})

    missing = cli("topology", "plan", "--json")
    asyncio.run(_make_a_classic_queue(vhost, "smc.customerEvents"))
    differs, refused = cli("topology", "plan"), cli("topology", "apply")

    assert (missing.code, differs.code, refused.code) == (0, 1, 2)
    assert states(missing.json) == {"missing"}
    assert "differs: a person must decide" in differs.words
    assert "smc.customerEvents: the broker has it with" in refused.err
    asyncio.run(_delete_queue(vhost, "smc.customerEvents"))
    assert cli("topology", "apply").code == 0
    assert states(cli("topology", "plan", "--json").json) == {"matches"}


async def _make_a_classic_queue(address: str, name: str) -> None:
    async with raw_channel(address) as channel:
        await channel.queue_declare(name, durable=True)


async def _delete_queue(address: str, name: str) -> None:
    async with raw_channel(address) as channel:
        await channel.queue_delete(name)
