"""What may go wrong in the books."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

from sqlalchemy import event
from sqlalchemy.pool import Pool

from hub.ledger.book import Book
from hub.ledger.errors import UnknownHoldError
from hub.ledger.holds import HoldDesk
from hub.money import Money

MUCH = 10**12
"""More than any test has."""


@contextmanager
def a_hold_asks_nobody() -> Iterator[None]:
    """It sets more aside than there is, and what was given back can still be taken."""
    change: Any = Book._change

    async def opened(self: Any, reference: str) -> Any:
        hold = await self.find(reference)
        if hold is None:
            raise UnknownHoldError(reference)
        return hold

    def generous(self: Any, account: Any, amount: Money, *, raises: bool) -> int | None:
        known = self._known[account.code]
        if known.balance is None or account.may_go_negative or raises:
            return change(self, account, amount, raises=raises)  # type: ignore[no-any-return]
        self._old_balances.append((known, known.balance))
        known.balance -= amount.amount_minor
        return int(known.balance)

    with patch.object(HoldDesk, "_open", opened), patch.object(Book, "_change", generous):
        yield


@contextmanager
def a_move_commits_without_its_balance() -> Iterator[None]:
    """Nothing applies a move to the two balances that it moves; on SQLite, where it is easily taken away."""

    def forget(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in ("DROP TRIGGER IF EXISTS moves_apply", "DROP TRIGGER IF EXISTS moves_check"):
            # Whoever only reads is not let: it finds it done by those who write.
            with suppress(sqlite3.Error):
                cursor.execute(statement)
        cursor.close()

    event.listen(Pool, "connect", forget)
    try:
        yield
    finally:
        event.remove(Pool, "connect", forget)
