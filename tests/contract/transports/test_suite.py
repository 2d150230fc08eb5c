"""The suite itself: every broken transport is caught by the test that is meant for it, and by no accident."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub.store.store import Store
from tests.contract.transports import driving
from tests.contract.transports.broken import CAUGHT_BY, Broken, WaitsForEver
from tests.contract.transports.driving import Names
from tests.contract.transports.publishing import BODIES
from tests.contract.transports.suite import TransportContract
from tests.support.clock import SettableClock
from tests.support.databases import Databases

TESTS = sorted(name.removeprefix("test_") for name in dir(TransportContract) if name.startswith("test_"))


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken transport is waited for in vain."""
    monkeypatch.setattr(driving, "DEADLINE_S", 2.0)
    monkeypatch.setattr(driving, "QUIET_S", 0.2)


@pytest.fixture
async def store(databases: Databases) -> AsyncIterator[Store]:
    address = await databases.fresh("sqlite")
    opened = Store.open(address)
    yield opened
    await opened.close()
    await databases.drop(address)


@pytest.mark.parametrize("kind", CAUGHT_BY, ids=lambda kind: kind.__name__)
async def test_a_broken_transport_is_caught(kind: type[Broken], store: Store, clock: SettableClock) -> None:
    caught = [problem async for problem in _problems(kind, CAUGHT_BY[kind], store, clock)]

    assert any(caught), f"{kind.__name__} passes {CAUGHT_BY[kind]}"


@pytest.mark.parametrize("name", TESTS)
async def test_the_unbroken_one_passes_the_same_way(name: str, store: Store, clock: SettableClock) -> None:
    """Else the others might be caught by how they are driven here."""
    assert [problem async for problem in _problems(Broken, name, store, clock) if problem] == []


def test_no_test_of_the_suite_is_there_in_vain() -> None:
    """Each catches a broken transport, but for the one that only a broken broker could show."""
    assert set(TESTS) - set(CAUGHT_BY.values()) == {"a_batch_cut_off_in_its_handler_comes_again"}


async def _problems(
    kind: type[Broken], name: str, store: Store, clock: SettableClock
) -> AsyncIterator[BaseException | None]:
    """What one test says to a transport, once for each of its parameters."""
    test: Callable[..., Awaitable[None]] = getattr(TransportContract(), f"test_{name}")
    wanted = inspect.signature(test).parameters
    for more in [{"body": body} for body in BODIES] if "body" in wanted else [{}]:
        transport = kind(store, clock)

        async def opened() -> Broken:
            return kind(store, clock)

        @asynccontextmanager
        async def silent(transport: Broken = transport) -> AsyncIterator[None]:
            if not isinstance(transport, WaitsForEver):
                yield
                return
            transport.answers.clear()
            try:
                yield
            finally:
                transport.answers.set()

        has_silence = issubclass(kind, WaitsForEver)
        given: dict[str, Any] = {
            "open": opened,
            "transport": transport,
            "names": Names(),
            "silence": silent if has_silence else None,
            **more,
        }
        try:
            await test(**{parameter: given[parameter] for parameter in wanted})
        except pytest.skip.Exception:
            yield None
        except (Exception, BaseExceptionGroup, pytest.fail.Exception) as error:
            yield error
        else:
            yield None
        await transport.close()
