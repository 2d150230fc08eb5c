"""How journal entries are shown, wherever they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.ledger.model import PostedEntry, Posting
from hub.money import Money

ENTRY_COLUMNS = ("entry", "posted", "kind", "reference", "account", "change", "balance")


def entry_as_json(entry: PostedEntry) -> Mapping[str, Any]:
    """The entry with its postings. Amounts in minor units are whole numbers, those in whole units are decimal text."""
    return {
        "id": entry.id,
        "reference": entry.reference,
        "kind": entry.kind,
        "posted_at": entry.posted_at,
        "event_id": entry.event_id,
        "delivery_id": entry.delivery_id,
        "reverses": entry.reverses,
        "note": entry.note,
        "data": entry.data,
        "postings": [_posting(posting) for posting in entry.postings],
    }


def _posting(posting: Posting) -> Mapping[str, Any]:
    return {
        "account": posting.account,
        "side": posting.side,
        "currency": posting.amount.currency,
        "change_minor": posting.delta.amount_minor,
        "change": posting.delta.decimal,
        "before_minor": _minor(posting.before),
        "after_minor": _minor(posting.after),
    }


def _minor(amount: Money | None) -> int | None:
    return None if amount is None else amount.amount_minor


def entry_rows(entry: PostedEntry) -> list[list[object]]:
    """One row for each posting, the entry's own columns only on the first; see ``ENTRY_COLUMNS``."""
    rows: list[list[object]] = []
    for number, posting in enumerate(entry.postings):
        head = [entry.id, entry.posted_at, entry.kind, entry.reference] if number == 0 else ["", "", "", ""]
        sign = "+" if posting.delta.amount_minor >= 0 else ""
        balance = posting.after.format() if posting.after is not None else ""
        rows.append([*head, posting.account, sign + posting.delta.format(), balance])
    return rows
