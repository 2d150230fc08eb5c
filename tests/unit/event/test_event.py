"""Names that must stay what they are for ever: they are stored, and other processes compute them again."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from hub.event import (
    LANES,
    ROUTE_BITS,
    Event,
    Verdict,
    chain_of,
    delivery_id_of,
    lane_of,
    new_traceparent,
    route_id_of,
    stable_hash,
    stable_uuid,
    stable_uuid_text,
    uuid7,
)

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
texts = st.text(max_size=20)


def an_event(key: str | None, after: tuple[str, ...] = ()) -> Event:
    return Event(
        id=UUID(int=7),
        source="shop",
        type="order.placed",
        key=key,
        dedupe_id=None,
        occurred_at=NOW,
        received_at=NOW,
        content_type="application/json",
        payload=b'{"a": 1.50}',
        headers={},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        verdict=Verdict.VALID,
        after=after,
    )


def test_stored_names_never_change() -> None:
    """A change of one of these would split chains and identities of databases that exist."""
    assert stable_hash("identity", "shop", "7").hex() == "bdfb5cd4322cc40d8ecf0faa122fcf84"
    assert str(stable_uuid("message", "a", "1", "1")) == "b2e96e32-0d90-8b33-8b82-40cd7530cb1d"
    assert (lane_of("customer-7"), chain_of(3, "customer-7")) == (88, 8130326489121610384)


@given(parts=st.lists(texts, min_size=1, max_size=4), others=st.lists(texts, min_size=1, max_size=4))
def test_different_parts_have_different_hashes(parts: list[str], others: list[str]) -> None:
    assert (stable_hash(*parts) == stable_hash(*others)) == (parts == others)


@given(key=texts, route=st.integers(1, 65_535))
def test_a_chain_never_crosses_a_lane_and_fits_64_bits(key: str, route: int) -> None:
    assert 0 <= lane_of(key) < LANES
    assert -(2**63) <= chain_of(route, key) < 2**63
    assert chain_of(route, key) != chain_of(route - 1, key)


@given(seq=st.integers(1, 2**47 - 1), route=st.integers(0, 2**ROUTE_BITS - 1))
def test_a_deliverys_number_says_its_event_and_its_route_and_keeps_the_order_of_events(seq: int, route: int) -> None:
    number = delivery_id_of(seq, route)

    assert (number >> ROUTE_BITS, route_id_of(number)) == (seq, route)
    assert number < 2**63
    assert number < delivery_id_of(seq + 1, 0)


@given(first=st.floats(0, 2**40), later=st.floats(0.001, 10**6))
def test_ids_sort_by_time(first: float, later: float) -> None:
    earlier_id, later_id = uuid7(first), uuid7(first + later)

    assert earlier_id.version == later_id.version == 7
    assert earlier_id.variant == "specified in RFC 4122"
    assert earlier_id.int >> 80 <= later_id.int >> 80


def test_ids_of_one_moment_differ() -> None:
    assert len({uuid7(1_000.0) for _ in range(1_000)}) == 1_000


def test_a_stable_id_says_that_it_is_one() -> None:
    assert stable_uuid("a").version == 8
    assert stable_uuid("a") == stable_uuid("a") != stable_uuid("b")


def test_an_event_without_a_key_is_a_chain_of_its_own() -> None:
    assert an_event(None).chain_key == str(UUID(int=7))
    assert an_event("k").chain_key == "k"
    assert an_event("").chain_key == "", "an empty key is a key"
    assert an_event("k").lane == lane_of("k")


def test_the_payload_is_read_once_and_its_fractions_are_exact() -> None:
    event = an_event("k")

    assert str(event.data["a"]) == "1.50"
    assert event.data is event.data


def test_a_trace_begins_or_goes_on() -> None:
    assert an_event("k").trace_id == "0af7651916cd43dd8448eb211c80319c"
    fresh = new_traceparent()
    assert (len(fresh), fresh[:3], fresh[-3:]) == (55, "00-", "-01")
    assert fresh != new_traceparent()


@given(st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=4))
def test_a_stable_uuid_as_text_is_the_text_of_the_stable_uuid(parts: list[str | bytes]) -> None:
    assert stable_uuid_text(*parts) == str(stable_uuid(*parts))


def test_a_frozen_model_is_read_once_and_another_each_time() -> None:
    class Frozen(BaseModel):
        model_config = ConfigDict(frozen=True)
        a: Decimal

    class Loose(BaseModel):
        a: Decimal

    event = an_event("key")

    assert event.read_as(Frozen) is event.read_as(Frozen)
    assert event.read_as(Loose) == Loose(a=Decimal("1.5"))
    assert event.read_as(Loose) is not event.read_as(Loose)
