"""A block is hashed in pieces: it comes to the same, and others have their turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from hub.prove.offline import root_of
from hub.seal.chain import BRANCH_MEMBERS, root_in_pieces
from hub.seal.finding import CHUNK, sealable
from hub.seal.kinds import Member, readers_of

MEMBERS = [Member("event", number, "", number.to_bytes(32, "big")) for number in range(10 * BRANCH_MEMBERS)]
COUNTS = [
    1,
    2,
    BRANCH_MEMBERS - 1,
    BRANCH_MEMBERS,
    BRANCH_MEMBERS + 1,
    2 * BRANCH_MEMBERS,
    3 * BRANCH_MEMBERS + 5,
    7 * BRANCH_MEMBERS - 1,
    10 * BRANCH_MEMBERS,
]


@pytest.mark.parametrize("count", COUNTS)
async def test_the_root_of_a_tree_in_pieces_is_its_root(count: int) -> None:
    members = MEMBERS[:count]

    assert await root_in_pieces(members) == root_of([one.node for one in members])


async def test_others_have_their_turn_while_a_tree_is_hashed() -> None:
    assert await turns_during(root_in_pieces(MEMBERS)) >= len(MEMBERS) // BRANCH_MEMBERS


async def test_others_have_their_turn_while_rows_are_hashed() -> None:
    accounts = readers_of("sqlite")["account"]
    rows = [(number,) for number in range(CHUNK)]

    # What they hold is nothing that the hub writes: each is left out.
    assert await turns_during(sealable(accounts, rows)) >= 10


async def turns_during(work: Awaitable[object]) -> int:
    """How often somebody else who is always ready comes to run."""
    turns = 0
    task = asyncio.ensure_future(work)
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    task.result()
    return turns
