"""A pause that could not be written holds in its process, and the others hear of it when the database is back."""

from __future__ import annotations

from typing import Any

import pytest

from hub.errors import StoreUnavailableError
from hub.flow.flow import Flow
from hub.flow.pauses import Kind, lift_pauses
from hub.operate.pausing import resume
from hub.store.store import Store
from tests.integration.deliver.workshop import route, routing
from tests.support.clock import SettableClock
from tests.support.parts import assemble
from tests.support.patience import until

BANK: Kind = "provider"


class Outage:
    """While it lasts nothing can be written; reading goes on, as on a standby."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_over = False
        write = store.write

        async def refused(*arguments: Any, **options: Any) -> Any:
            if self.is_over:
                return await write(*arguments, **options)
            raise StoreUnavailableError("away", delay_s=1)

        monkeypatch.setattr(store, "write", refused)


async def looked(store: Store, flow: Flow) -> Flow:
    async with store.reading() as conn:
        await flow.look(conn)
    return flow


async def test_a_pause_holds_here_until_it_is_written_and_then_everywhere(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, other = Flow(store, clock, dict), Flow(store, clock, dict)
    outage = Outage(store, monkeypatch)
    with pytest.raises(StoreUnavailableError):
        await flow.pause(BANK, "bank", "busy", by="bank", reason="429", for_s=60)
    await flow.open_circuit(BANK, "till", reason="silent", for_s=60)

    await flow.tell_untold()
    await looked(store, flow)
    assert flow.pause_of(BANK, "bank") is not None
    assert flow.pause_of(BANK, "till") is not None
    assert (await looked(store, other)).pause_of(BANK, "bank") is None

    # Over before it could be written: that a circuit is half open is still worth telling.
    clock.advance(61)
    outage.is_over = True
    await flow.pause(BANK, "bank", "busy", by="bank", reason="429", for_s=120)
    await flow.tell_untold()
    for one in (await looked(store, flow), await looked(store, other)):
        assert one.pause_of(BANK, "bank") is not None
        assert one.is_half_open(BANK, "till")

    # It is told once: what a person has lifted since stays lifted.
    await store.write(lambda conn: lift_pauses(conn, BANK, "bank"))
    await flow.tell_untold()
    assert (await looked(store, flow)).pause_of(BANK, "bank") is None


async def test_a_person_lifts_a_pause_that_no_row_tells_of(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow(store, clock, dict)
    outage = Outage(store, monkeypatch)
    await flow.open_circuit(BANK, "bank", reason="silent", for_s=600)
    await flow.open_circuit(BANK, "till", reason="silent", for_s=600)
    clock.advance(1)
    outage.is_over = True

    assert await resume(store, clock, BANK, "bank", actor="ana", reason="it answers") == []
    clock.advance(1)
    await flow.open_circuit("destination", "bank", reason="silent", for_s=600)
    await flow.tell_untold()
    await looked(store, flow)

    assert flow.pause_of(BANK, "bank") is None
    assert flow.pause_of(BANK, "till") is not None
    assert flow.pause_of("destination", "bank") is not None


async def test_a_pause_that_began_after_a_person_had_lifted_another_is_told(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow(store, clock, dict)
    await resume(store, clock, BANK, "bank", actor="ana")
    clock.advance(1)
    outage = Outage(store, monkeypatch)
    await flow.open_circuit(BANK, "bank", reason="silent", for_s=600)
    outage.is_over = True

    await flow.tell_untold()

    assert (await looked(store, Flow(store, clock, dict))).pause_of(BANK, "bank") is not None


async def test_a_worker_tells_it_when_it_sweeps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with assemble(store, routing(route("forward", None, more="publish: out"), destinations=["out"]), {}) as parts:
        other, outage = Flow(store, parts.clock, dict), Outage(store, monkeypatch)
        await parts.around.flow.open_circuit(BANK, "bank", reason="silent", for_s=600)
        outage.is_over = True

        async def is_known() -> bool:
            return (await looked(store, other)).pause_of(BANK, "bank") is not None

        await until(is_known)
