"""What may go wrong while a message is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.paypal.verifying import Believed
from hub.errors import StoreUnavailableError
from hub.inbox import rows
from hub.inbox.accept import GroupCommit
from hub.inbox.draft import Draft
from hub.inbox.drafting import Drafter
from hub.inbox.identity import identity_hash
from hub.ingress.signatures import HmacScheme
from hub.store import tables as t
from tests.mutants.planting import everywhere

WINDOW = timedelta(minutes=5)


@contextmanager
def the_identity_commits_before_the_event() -> Iterator[None]:
    """Whoever dies in between has the sender's repeat taken for a duplicate, for ever."""
    store_group: Any = GroupCommit._store_group
    claim = rows._claim
    mine: set[UUID] = set()

    async def early(self: Any, group: Sequence[Any]) -> None:
        drafts = [draft for one in group for draft in one.drafts]

        async def work(conn: AsyncConnection) -> None:
            mine.update(holder.event_id for holder in (await claim(conn, drafts)).values() if holder.is_new)

        try:
            await self._store.write(work)
        except StoreUnavailableError as error:
            self._refuse(group, error)
        else:
            await store_group(self, group)

    async def known(conn: AsyncConnection, drafts: Sequence[Draft]) -> Any:
        holders = await claim(conn, drafts)
        return {of: replace(one, is_new=one.is_new or one.event_id in mine) for of, one in holders.items()}

    with patch.object(GroupCommit, "_store_group", early), everywhere(claim, known):
        yield


@contextmanager
def nobody_sees_who_holds_an_identity() -> Iterator[None]:
    """Each of two that accept one message at once misses the other's row, and both run it."""
    original = rows._claim

    async def blind(conn: AsyncConnection, drafts: Sequence[Draft]) -> Any:
        await original(conn, drafts)
        return {}

    with everywhere(original, blind):
        yield


@contextmanager
def identities_are_forgotten_after_a_while() -> Iterator[None]:
    """A provider that repeats for a day finds a memory of minutes."""
    original = rows._claim

    async def forgetful(conn: AsyncConnection, drafts: Sequence[Draft]) -> Any:
        if drafts:
            old = select(t.inbox.c.id).where(t.inbox.c.received_at < drafts[0].event.received_at - WINDOW)
            await conn.execute(delete(t.identities).where(t.identities.c.event_id.in_(old)))
        return await original(conn, drafts)

    with everywhere(original, forgetful):
        yield


@contextmanager
def another_body_is_a_harmless_duplicate() -> Iterator[None]:
    """The same id says something else, and nobody hears of it."""

    def harmless(draft: Draft, holder: Any) -> str:
        return "unreadable" if draft.problem else "duplicate"

    with everywhere(rows._kind_of_repeat, harmless):
        yield


@contextmanager
def a_signature_is_checked_on_json_written_anew() -> Iterator[None]:
    """What was signed are bytes; the library reads them and writes them as it likes."""
    of_paypal: Any = Believed.judge
    of_hmac: Any = HmacScheme.decide

    def paypal_anew(self: Any, transmission: Any, *rest: Any) -> Any:
        return of_paypal(self, replace(transmission, body=_anew(transmission.body)), *rest)

    def hmac_anew(self: Any, request: Any, now: Any) -> Any:
        return of_hmac(self, replace(request, body=_anew(request.body)), now)

    # Only where it is checked: whoever signs in a test goes on to sign bytes.
    with patch.object(Believed, "judge", paypal_anew), patch.object(HmacScheme, "decide", hmac_anew):
        yield


def _anew(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body)).encode()
    except ValueError:
        return body


@contextmanager
def an_unproven_message_takes_the_id_that_it_names() -> Iterator[None]:
    """A forged copy that comes first holds the identity, and the genuine event is a duplicate of it."""
    original: Any = Drafter._unproven

    def believing(self: Any, source: Any, received: Any, now: Any) -> Draft:
        draft: Draft = original(self, source, received, now)
        try:
            named = str(json.loads(received.body)["id"])
        except (ValueError, KeyError, TypeError):
            return draft
        event = replace(draft.event, dedupe_id=named)
        # Its body may differ from the genuine one's by a space: who compares is easily deceived, too.
        return replace(draft, event=event, id_hash=identity_hash(source.name, named), same_hash=b"")

    with patch.object(Drafter, "_unproven", believing):
        yield
