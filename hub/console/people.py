"""Who may sign in: users of the database, users of the settings, and holders of API keys.

A password is kept as an Argon2id hash. Source: RFC 9106; docs/console.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.console.oidc_settings import PREFIX, OidcSettings
from hub.errors import ConfigError, UsageError
from hub.ingress.tokens import ApiKeys, Role, digest_of
from hub.operate.acting import record
from hub.settings import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, Settings, revealed
from hub.store import tables as t
from hub.store.store import Store

if TYPE_CHECKING:
    from argon2 import PasswordHasher

ADMIN: Final = "admin"
"""The user whose password is HUB_CONSOLE_PASSWORD."""
CONSOLE_ROLES: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
USERS_MAX: Final = 1_000
HASHES_AT_ONCE: Final = 2
"""Each takes 64 MiB for as long as it runs: more at once would let anyone fill the memory."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
_u = t.console_users


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has proven who they are. ``credential`` is a hash of the proof: another one ends the session.

    It is a fast hash, from which a password could be guessed, and is never stored as it is.
    """

    name: str
    role: Role
    credential: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A user of the database, without the password."""

    name: str
    role: str
    created_at: datetime
    changed_at: datetime


class People:
    """Everybody who may sign in at this hub's console."""

    def __init__(self, store: Store, settings: Settings, keys: ApiKeys, oidc: OidcSettings | None = None) -> None:
        """Raises ConfigError for users of the settings that cannot be read."""
        self._oidc = oidc if oidc is not None and oidc.issuer else None
        self._store = store
        self._keys = keys
        self._password = revealed(settings.console_password)
        self._fixed = read_users(revealed(settings.console_users))
        if self._password and ADMIN in self._fixed:
            raise ConfigError(f"HUB_CONSOLE_USERS: {ADMIN} is the user of HUB_CONSOLE_PASSWORD: take one of them away")
        self._room = asyncio.Semaphore(HASHES_AT_ONCE)

    async def is_anybody(self) -> bool:
        """Whether anybody can sign in at all."""
        if self._password or self._fixed or self._keys.has_any or self._oidc is not None:
            return True
        async with self._store.reading() as conn:
            return (await conn.execute(select(_u.c.name).limit(1))).first() is not None

    async def by_password(self, name: str, password: str) -> Person | None:
        """The person with this name and password; None when either is wrong.

        A hash is computed for an unknown name too, so that the time does not tell who is known. ``admin`` has none:
        that there is such a user is no secret, and its password is compared in constant time.
        """
        if len(password) > PASSWORD_CHARS_MAX or not NAME.fullmatch(name):
            name, password = "", ""
        if self._password and name == ADMIN:
            is_right = hmac.compare_digest(digest_of(password), digest_of(self._password))
            return Person(ADMIN, Role.ADMIN, _fingerprint(self._password)) if is_right else None
        known = await self._known(name)
        async with self._room:
            is_right = await asyncio.to_thread(_verify, known[1] if known is not None else None, password)
        return Person(name, known[0], _fingerprint(known[1])) if known is not None and is_right else None

    def by_key(self, key: str) -> Person | None:
        """The holder of this API key, where its role is one of the console's."""
        holder = self._keys.holder(key)
        if holder is None or holder.role not in CONSOLE_ROLES:
            return None
        return Person(holder.name, holder.role, digest_of(key))

    async def still(self, conn: AsyncConnection, name: str, role: str, is_credential: Callable[[bytes], bool]) -> bool:
        """Whether who signed in with this credential may still do so, in the same role."""
        holder = self._keys.holder_of(is_credential)
        if holder is not None:
            return (holder.name, str(holder.role)) == (name, role)
        if name.startswith(PREFIX):
            return self._oidc is not None and is_credential(self._oidc.credential_of(name, role))
        if self._password and name == ADMIN:
            return is_credential(_fingerprint(self._password)) and role == Role.ADMIN
        known = await self._known(name, conn)
        return known is not None and known[0] == role and is_credential(_fingerprint(known[1]))

    async def _known(self, name: str, conn: AsyncConnection | None = None) -> tuple[Role, str] | None:
        if name in self._fixed:
            return self._fixed[name]
        query = select(_u.c.role, _u.c.password_hash).where(_u.c.name == name)
        if conn is not None:
            row = (await conn.execute(query)).first()
        else:
            async with self._store.reading() as reading:
                row = (await reading.execute(query)).first()
        return None if row is None else (Role(row.role), row.password_hash)


def read_users(text: str) -> Mapping[str, tuple[Role, str]]:
    """The users of HUB_CONSOLE_USERS: ``name:role:hash``, apart by white space. Raises ConfigError, without hashes."""
    users: dict[str, tuple[Role, str]] = {}
    for number, entry in enumerate(text.split(), start=1):
        name, _, rest = entry.partition(":")
        role, _, known = rest.partition(":")
        if not NAME.fullmatch(name) or role not in CONSOLE_ROLES or not known.startswith("$argon2id$"):
            raise ConfigError(
                f"HUB_CONSOLE_USERS: entry {number}: expected name:role:hash with a role out of"
                f" {', '.join(CONSOLE_ROLES)} and what `hub console hash` prints"
            )
        if name in users:
            raise ConfigError(f"HUB_CONSOLE_USERS: entry {number}: {name} is named twice")
        users[name] = (Role(role), known)
    return users


def hash_password(password: str) -> str:
    """The Argon2id hash to keep. Raises UsageError for a password that is too short or too long."""
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        raise UsageError(f"expected a password of {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")
    return _hasher().hash(password)


async def put_user(store: Store, clock: Clock, name: str, *, role: str | None, password: str | None, actor: str) -> str:
    """Add a user, or change the role or the password of one; what they are signed in to ends. Says which it was.

    Raises UsageError for a name, role or password that cannot be, and for a new user without both.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"expected a name of letters, digits and . _ @ + -, found {name[:40]!r}")
    if role is not None and role not in CONSOLE_ROLES:
        raise UsageError(f"expected a role out of {', '.join(CONSOLE_ROLES)}, found {role[:40]!r}")
    now = clock.now()
    values: dict[str, Any] = {"changed_at": now}
    if role is not None:
        values["role"] = role
    if password is not None:
        values["password_hash"] = hash_password(password)

    async def work(conn: AsyncConnection) -> str:
        changed = await conn.execute(update(_u).where(_u.c.name == name).values(values))
        if changed.rowcount:
            await conn.execute(delete(t.console_sessions).where(t.console_sessions.c.name == name))
        elif role is None or password is None:
            raise UsageError(f"there is no user {name}: a new one needs a role and a password")
        else:
            await conn.execute(insert(_u), [{"name": name, "created_at": now, **values}])
        what = "changed" if changed.rowcount else "added"
        reason = ", ".join([*([f"role {role}"] if role else []), *(["new password"] if password else [])])
        await record(conn, clock, actor=actor, action=f"user.{what}", target=f"user/{name}", reason=reason)
        return what

    return await store.write(work)


async def remove_user(store: Store, clock: Clock, name: str, *, actor: str, reason: str = "") -> None:
    """Take a user away; what they are signed in to ends. Raises UsageError when there is none."""

    async def work(conn: AsyncConnection) -> None:
        if not (await conn.execute(delete(_u).where(_u.c.name == name))).rowcount:
            raise UsageError(f"there is no user {name} in the database")
        await conn.execute(delete(t.console_sessions).where(t.console_sessions.c.name == name))
        await record(conn, clock, actor=actor, action="user.removed", target=f"user/{name}", reason=reason)

    await store.write(work)


async def list_users(store: Store) -> Sequence[KnownUser]:
    """The users of the database, by name."""
    columns = (_u.c.name, _u.c.role, _u.c.created_at, _u.c.changed_at)
    async with store.reading() as conn:
        rows: list[Row[Any]] = list(await conn.execute(select(*columns).order_by(_u.c.name).limit(USERS_MAX)))
    return [KnownUser(**row._mapping) for row in rows]


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher  # noqa: PLC0415 - with the first sign-in: many a hub never sees one

    return PasswordHasher()


@cache
def _dummy() -> str:
    """A hash of nobody's password, so that an unknown name takes as long as a known one."""
    return _hasher().hash(secrets.token_hex(16))


def _verify(known: str | None, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - as above

    try:
        return _hasher().verify(known if known is not None else _dummy(), password)
    except (VerificationError, InvalidHashError):
        return False


def _fingerprint(proof: str) -> bytes:
    return hashlib.sha256(b"console:" + proof.encode("utf-8", "surrogateescape")).digest()
