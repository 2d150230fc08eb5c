"""Who is signed in: one row per session, which the server may end; the browser holds a random token alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, delete, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.console.people import People, Person
from hub.errors import UsageError
from hub.ingress.tokens import GRANTS, Role
from hub.operate.acting import record
from hub.store import tables as t
from hub.store.store import Store

TOKEN_BYTES: Final = 32
TOKEN_CHARS_MAX: Final = 100
TOUCH_S: Final = 60.0
"""How much time passes before a session is noted as seen again: not every click is a write."""
FAILURES_S: Final = 900.0
"""How long a failed sign-in counts."""
FAILURES_PER_PAIR_MAX: Final = 5
"""By one name from one address. Somebody else's guesses then do not lock anybody out."""
FAILURES_PER_ADDRESS_MAX: Final = 30
FAILURES_PER_NAME_MAX: Final = 100
SESSIONS_MAX: Final = 200
SIGN_IN_TURN: Final = 0x7369676E
"""The advisory lock under which attempts are counted."""

_s, _f = t.console_sessions, t.console_failures


@dataclass(frozen=True, slots=True)
class Session:
    """A session as a request finds it."""

    name: str
    role: Role
    token: str = field(repr=False)
    expires_at: datetime

    def may(self, role: Role) -> bool:
        """Whether the role includes this one."""
        return role in GRANTS[self.role]

    @property
    def csrf(self) -> str:
        """What every form of this session carries, and no other site knows."""
        return hmac.new(self.token.encode(), b"form", hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as a list shows it. ``id`` is the beginning of its token's hash."""

    id: str
    name: str
    role: str
    address: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class ThrottledError(UsageError):
    """Too many sign-ins have failed: nothing was looked at, come again later."""


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, store: Store, clock: Clock, people: People, *, life_s: float, idle_s: float) -> None:
        self._store = store
        self._clock = clock
        self._people = people
        self._life = timedelta(seconds=life_s)
        self._idle = timedelta(seconds=idle_s)

    async def open(self, person: Person, address: str, *, attempt: UUID | None = None) -> str:
        """Sign somebody in; answers with the token that the browser is to keep. Sessions that are over go with it.

        ``attempt``: what ``attempt`` has noted, which did not fail after all.
        """
        token, now = secrets.token_urlsafe(TOKEN_BYTES), self._clock.now()
        row = {
            "token_hash": _hash(token),
            "name": person.name,
            "role": str(person.role),
            "credential": _bound(token, person.credential),
            "address": address[:64],
            "created_at": now,
            "seen_at": now,
            "expires_at": now + self._life,
        }

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(delete(_s).where(or_(_s.c.expires_at <= now, _s.c.seen_at <= now - self._idle)))
            await conn.execute(insert(_s), [row])
            if attempt is not None:
                await conn.execute(delete(_f).where(_f.c.id == attempt))
            target = f"user/{person.name}"
            await record(conn, self._clock, actor=person.name, action="console.sign_in", target=target, reason=address)

        await self._store.write(work)
        return token

    async def find(self, token: str, *, is_click: bool = True) -> Session | None:
        """The session of this token; None when there is none, or it is over. ``is_click`` keeps it from idling out."""
        if not token or len(token) > TOKEN_CHARS_MAX:
            return None
        now, digest = self._clock.now(), _hash(token)
        async with self._store.reading() as conn:
            row = (await conn.execute(select(_s).where(_s.c.token_hash == digest))).first()
            if row is None or row.expires_at <= now or row.seen_at + self._idle <= now:
                return None
            known: bytes = row.credential
            if not await self._people.still(
                conn, row.name, row.role, lambda one: hmac.compare_digest(_bound(token, one), known)
            ):
                return None
        if is_click and now - row.seen_at > timedelta(seconds=TOUCH_S):
            touch = update(_s).where(_s.c.token_hash == digest).values(seen_at=now)
            await self._store.write(lambda conn: conn.execute(touch))
        return Session(row.name, Role(row.role), token, row.expires_at)

    async def close(self, session: Session) -> None:
        """Sign out."""

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(delete(_s).where(_s.c.token_hash == _hash(session.token)))
            target = f"user/{session.name}"
            await record(conn, self._clock, actor=session.name, action="console.sign_out", target=target, reason="")

        await self._store.write(work)

    async def listed(self) -> Sequence[OpenSession]:
        """Who is signed in, the last to click first."""
        async with self._store.reading() as conn:
            rows = list(await conn.execute(self._live()))
        return [
            OpenSession(
                row.token_hash.hex()[:16],
                row.name,
                row.role,
                row.address,
                row.created_at,
                row.seen_at,
                row.expires_at,
            )
            for row in rows
        ]

    async def revoke(self, session_id: str, *, actor: str, reason: str) -> str:
        """End a session by the id that the list shows; answers with whose it was. Raises UsageError."""

        async def work(conn: AsyncConnection) -> str:
            found = [row for row in await conn.execute(self._live()) if row.token_hash.hex()[:16] == session_id]
            if not found:
                raise UsageError("this session is over already")
            await conn.execute(delete(_s).where(_s.c.token_hash.in_([row.token_hash for row in found])))
            target = f"user/{found[0].name}"
            await record(conn, self._clock, actor=actor, action="console.revoke", target=target, reason=reason)
            name: str = found[0].name
            return name

        return await self._store.write(work)

    def _live(self) -> Select[Any]:
        """What is listed; nothing else can be ended from the list."""
        now = self._clock.now()
        query = select(_s).where(_s.c.expires_at > now, _s.c.seen_at > now - self._idle)
        return query.order_by(_s.c.seen_at.desc(), _s.c.token_hash).limit(SESSIONS_MAX)

    async def attempt(self, name: str, address: str) -> UUID:
        """Note a sign-in before anything is looked at; it counts as failed until ``open`` takes it back.

        So of many at once no more are looked at than may fail. Raises ThrottledError where too many have failed: by
        this name from here, from here, by this name.
        """
        # Most of a flood ends here, without a turn to write.
        async with self._store.reading() as conn:
            await self._expect_patience(conn, name, address)
        now = self._clock.now()
        attempt = self._clock.new_id()
        row = {"id": attempt, "at": now, "name_hash": _hash(name), "address": address[:64]}

        async def work(conn: AsyncConnection) -> UUID:
            if conn.dialect.name == "postgresql":
                # On SQLite one transaction writes at a time.
                await conn.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": SIGN_IN_TURN})
            await self._expect_patience(conn, name, address)
            await conn.execute(delete(_f).where(_f.c.at <= now - timedelta(seconds=FAILURES_S)))
            await conn.execute(insert(_f), [row])
            return attempt

        return await self._store.write(work)

    async def _expect_patience(self, conn: AsyncConnection, name: str, address: str) -> None:
        since = self._clock.now() - timedelta(seconds=FAILURES_S)
        mine, here = _f.c.name_hash == _hash(name), _f.c.address == address[:64]
        bounds = (
            (mine & here, FAILURES_PER_PAIR_MAX),
            (here, FAILURES_PER_ADDRESS_MAX),
            (mine, FAILURES_PER_NAME_MAX),
        )
        for condition, bound in bounds:
            query = select(func.count()).select_from(_f).where(_f.c.at > since, condition)
            if (await conn.scalar(query) or 0) >= bound:
                raise ThrottledError("Too many sign-ins have failed. Try again in a quarter of an hour.")


def _bound(token: str, credential: bytes) -> bytes:
    """What is kept of the proof: without the browser's token nobody can try passwords against it."""
    return hmac.digest(token.encode(), b"credential:" + credential, "sha256")


def _hash(known: str) -> bytes:
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).digest()
