"""Ingress, worker and relay each in a hub of its own: they wake each other up over the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import text

from hub.app import ROLES, Hub
from hub.deliver.worker import Worker
from hub.errors import ConfigError
from hub.outbox.relay import Relay
from hub.ownership.holding import DELIVER, RELAY
from hub.ownership.member import Member
from tests.scenarios.loymax import SAMPLES, SMART_COMMUNICATIONS, WAYS
from tests.support.running import RunningHub, environment, running, until

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

NEVER_S = 3_600.0


@pytest.fixture
def only_woken() -> Iterator[None]:
    """Nobody looks from time to time: who does not hear does not work."""
    with (
        patch("hub.owner.Worker", partial(Worker, sweep_s=NEVER_S)),
        patch("hub.owner.Relay", partial(Relay, sweep_s=NEVER_S)),
        patch("hub.owner.Member", partial(Member, look_s=NEVER_S)),
    ):
        yield


@asynccontextmanager
async def hubs(environ: Mapping[str, str], *roles: str) -> AsyncIterator[list[RunningHub]]:
    """One hub for each of these words: a role, or ``all``."""
    async with AsyncExitStack() as stack:
        started = []
        for role in roles:
            hub = await stack.enter_async_context(running(environ, roles=ROLES if role == "all" else (role,)))
            await until(partial(listens, hub))
            started.append(hub)
        yield started


def listens(hub: RunningHub) -> bool:
    return hub.hub.wakeups.is_listening


def lanes(hub: RunningHub) -> tuple[int, int]:
    assert hub.hub.owner is not None
    return len(hub.hub.owner.owned(DELIVER)), len(hub.hub.owner.owned(RELAY))


async def arrived(hub: RunningHub, count: int) -> None:
    async def has_arrived() -> bool:
        return len(await hub.queue(SMART_COMMUNICATIONS)) == count

    await until(has_arrived)


@pytest.mark.usefixtures("only_woken")
async def test_each_role_alone_hears_of_work_from_the_others(database_url: str, tmp_path: Path) -> None:
    async with hubs(environment(tmp_path, database_url), "ingress", "worker", "relay", "scheduler") as started:
        ingress, worker, relay, _ = started
        await until(lambda: (lanes(worker), lanes(relay)) == ((256, 0), (0, 256)))

        for number, sample in enumerate(SAMPLES):
            await WAYS["structured"](ingress, sample, f"n-{number}")

        await arrived(ingress, len(SAMPLES))
        assert ingress.hub.owner is None


@pytest.mark.usefixtures("only_woken")
async def test_two_whole_hubs_share_the_work_and_hear_of_it(database_url: str, tmp_path: Path) -> None:
    async with hubs(environment(tmp_path, database_url), "all", "all") as (one, other):
        # The newcomer says that it has come, the other gives, and says that it has given.
        await until(lambda: (lanes(one), lanes(other)) == ((128, 128), (128, 128)))

        for number, sample in enumerate(SAMPLES):
            await WAYS["structured"]((one, other)[number % 2], sample, f"n-{number}")
        await arrived(one, len(SAMPLES))

        await other.hub.stop(5.0)
        await until(lambda: lanes(one) == (256, 256))


@pytest.mark.usefixtures("only_woken")
async def test_wakeups_come_back_by_themselves(database_url: str, tmp_path: Path) -> None:
    async with hubs(environment(tmp_path, database_url), "ingress", "worker", "relay") as (ingress, worker, relay):
        await until(lambda: (lanes(worker), lanes(relay)) == ((256, 0), (0, 256)))
        cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'hub wakeups'"
        cut += " AND datname = current_database()"
        async with ingress.hub.store.writer.begin() as conn:
            assert await conn.scalar(text(cut)) == 3

        await until(lambda: not any(hub.hub.wakeups.is_listening for hub in (ingress, worker, relay)))
        await until(lambda: all(hub.hub.wakeups.is_listening for hub in (ingress, worker, relay)))
        await WAYS["structured"](ingress, SAMPLES[0], "after")

        await arrived(ingress, 1)


async def test_a_hub_that_may_not_upgrade_says_what_to_do(database_url: str, tmp_path: Path) -> None:
    environ = environment(tmp_path, database_url, HUB_DATABASE_UPGRADE="0")
    async with running(environ) as hub, hub.hub.store.writer.begin() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    with pytest.raises(ConfigError, match="hub db upgrade"):
        await Hub.open(environ)
