"""Whatever is changed or deleted past the hub is found by the seal, and named."""

from __future__ import annotations

import os
import random

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import SystemClock
from hub.seal import tables as s
from hub.seal import verifying
from hub.seal.kinds import KINDS
from hub.seal.members import record_pruned
from hub.seal.verifying import verify_seal
from hub.store.store import Store
from tests.integration.seal.till import seal_all, sell, till
from tests.integration.seal.vandal import deface, delete_row, free, keys_of

ROUNDS = 1 if os.environ.get("HUB_TEST_LONG", "0") == "0" else 40
SALES = 21
"""As many rows of each kind as it has fields, and a few more."""


async def _sealed_history(store: Store, *, rounds: int = 1) -> SystemClock:
    """As many sales as are needed for so many rounds of changes: where rows were changed, the till works no more."""
    clock = SystemClock()
    async with till(store) as parts:
        await sell(parts, SALES * rounds)

    async def prune(conn: AsyncConnection) -> None:
        # Of rows that never were: here it is about what is written down of them.
        for number in range(10 * rounds):
            await record_pruned(conn, clock, "event", [10_000_000 + number * 100_000], f"archive {number}")

    await store.write(prune)
    await seal_all(store, clock)
    return clock


async def test_every_field_and_every_row_of_every_kind_is_watched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A report names so many; here each of them counts.
    monkeypatch.setattr(verifying, "FINDINGS_MAX", 100 * SALES * ROUNDS)
    await _sealed_history(store, rounds=ROUNDS)
    sound = await verify_seal(store)
    assert (sound.findings, sum(sound.unsealed.values())) == ([], 0)
    assert {kind for kind, count in sound.present.items() if count} == set(KINDS)
    await free(store)
    chance = random.Random(20261121)
    # What was sealed: a row whose name was changed is there under one that no block knows.
    untouched = {kind.name: await keys_of(store, kind) for kind in KINDS.values()}
    everything: set[str] = set()

    for _ in range(ROUNDS):
        expected: dict[str, str] = {}
        for kind in KINDS.values():
            rows = untouched[kind.name]
            chance.shuffle(rows)
            fields = list(zip(kind.columns, kind.types, strict=True))
            chance.shuffle(fields)
            for column, of_type in fields:
                if not rows:
                    continue  # accounts are few: each field has had its turn in the first round
                number, key, where = rows.pop()
                expected[f"{kind.name} {number}{key and ' '}{key}"] = column
                await deface(store, kind.table, column, of_type, where, chance)
            if rows and kind.name != "account":
                number, key, where = rows.pop()
                expected[f"{kind.name} {number}{key and ' '}{key}"] = "the row"
                await delete_row(store, kind.table, where)
        everything |= expected.keys()

        found = {one.subject for one in (await verify_seal(store)).findings}

        assert {name: column for name, column in expected.items() if name not in found} == {}
        # A row whose name was changed is there under another one as well.
        touched = {tuple(name.split()[:2]) for name in everything}
        assert {name for name in found if tuple(name.split()[:2]) not in touched} == set()


async def test_a_change_of_the_seal_itself_is_found(store: Store) -> None:
    clock = SystemClock()
    async with till(store) as parts:
        for number in range(4):
            await sell(parts, 1, first=number)
            await seal_all(store, clock)
    sound = await verify_seal(store)
    assert sound.holds
    assert sound.blocks >= 4
    await free(store)
    chance = random.Random(1)

    columns = {"number": "int", "previous": "bytes", "root": "bytes", "members": "int", "sealed_at": "time"}
    for column, of_type in {**columns, "hash": "bytes"}.items():
        kept = await _rows(store, s.blocks)
        await deface(store, s.blocks, column, of_type, '"number" = 2', chance)
        assert not (await verify_seal(store)).holds, column
        await _put_back(store, s.blocks, kept)
    kept = await _rows(store, s.members)
    await deface(store, s.members, "packed", "bytes", '"block" = 2 AND "kind" = \'event\'', chance)
    assert not (await verify_seal(store)).holds
    await _put_back(store, s.members, kept)

    assert (await verify_seal(store)).holds


async def test_a_tail_that_was_cut_off_is_found_by_the_head_of_the_log(store: Store) -> None:
    clock = SystemClock()
    async with till(store) as parts:
        await sell(parts, 2)
        await seal_all(store, clock)
        early = (await verify_seal(store)).head
        await sell(parts, 2, first=2)
        await seal_all(store, clock)
    late = await verify_seal(store, head=early[:12])
    assert late.holds
    assert late.behind_given_head == late.head_number - 1

    async def cut(conn: AsyncConnection) -> None:
        for table, column in ((s.blocks, s.blocks.c.number), (s.members, s.members.c.block)):
            await conn.execute(delete(table).where(column > 1))

    await store.write(cut)
    assert [one.sort for one in (await verify_seal(store)).findings] == ["head"]

    async def hide(conn: AsyncConnection) -> None:
        await conn.execute(update(s.state).values(number=1, hash=bytes.fromhex(early)))

    await store.write(hide)
    hidden = await verify_seal(store)
    assert hidden.holds
    assert sum(hidden.unsealed.values()) > 0
    assert [one.sort for one in (await verify_seal(store, head=late.head)).findings] == ["head"]


async def test_a_row_that_no_block_can_hold_is_named(store: Store) -> None:
    if store.dialect == "postgresql":
        pytest.skip("its types let no such row in")
    clock = SystemClock()
    async with till(store) as parts:
        await sell(parts, 2)
    await free(store)

    async def spoil(conn: AsyncConnection) -> None:
        await conn.execute(text("UPDATE inbox SET received_at = 'yesterday' WHERE seq = (SELECT max(seq) FROM inbox)"))
        await conn.execute(
            text("UPDATE calls SET outcome = '{' WHERE delivery_id = (SELECT max(delivery_id) FROM calls)")
        )

    await store.write(spoil)
    await seal_all(store, clock)
    async with till(store) as parts:
        await sell(parts, 1, first=7)

    report = await verify_seal(store)

    assert [(one.sort, one.subject.split()[0]) for one in report.findings] == [
        ("unreadable", "event"),
        ("unreadable", "call"),
    ]
    assert (report.unsealed["event"], report.unsealed["call"]) == (2, 2)


async def _rows(store: Store, table: object) -> list[dict[str, object]]:
    async with store.reading() as conn:
        return [row._asdict() for row in await conn.execute(select(table))]  # type: ignore[call-overload]


async def _put_back(store: Store, table: object, rows: list[dict[str, object]]) -> None:
    async def work(conn: AsyncConnection) -> None:
        await conn.execute(delete(table))  # type: ignore[arg-type]
        await conn.execute(table.insert(), rows)  # type: ignore[attr-defined]

    await store.write(work)
