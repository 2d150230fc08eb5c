"""Who may sign in and for how long, on both databases."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher, Type
from sqlalchemy import select, text

from hub.console.people import People, Person, hash_password, put_user, read_users, remove_user
from hub.console.sessions import FAILURES_S, Sessions, ThrottledError
from hub.errors import ConfigError, UsageError
from hub.ingress.tokens import ApiKeys, Role
from hub.settings import Settings
from hub.store import tables as t
from hub.store.store import Store
from tests.support.clock import SettableClock

PASSWORD = "correct horse battery"
LIFE_S, IDLE_S = 3_600.0, 600.0


def _people(store: Store, *, keys: str = "", users: str = "") -> People:
    settings = Settings.model_validate({"console_users": users} if users else {})
    return People(store, settings, ApiKeys.read("", keys))


def _sessions(store: Store, clock: SettableClock, people: People) -> Sessions:
    return Sessions(store, clock, people, life_s=LIFE_S, idle_s=IDLE_S)


async def test_a_session_ends_by_time_by_idleness_and_with_its_user(store: Store, clock: SettableClock) -> None:
    people = _people(store)
    sessions = _sessions(store, clock, people)
    await put_user(store, clock, "ana", role="operator", password=PASSWORD, actor="test")
    person = await people.by_password("ana", PASSWORD)
    assert person is not None

    # Idle: a page that renews itself does not keep it alive, a click does.
    token = await sessions.open(person, "127.0.0.1")
    clock.advance(IDLE_S - 1)
    assert await sessions.find(token, is_click=False) is not None
    clock.advance(2)
    assert await sessions.find(token) is None

    token = await sessions.open(person, "127.0.0.1")
    for _ in range(int(LIFE_S // (IDLE_S - 1))):
        clock.advance(IDLE_S - 1)
        found = await sessions.find(token)
        assert found is not None
        assert (found.name, found.role) == ("ana", Role.OPERATOR)
    clock.advance(IDLE_S - 1)
    assert await sessions.find(token) is None

    for change in ("role", "password", "removal"):
        person = await people.by_password("ana", PASSWORD)
        assert person is not None
        token = await sessions.open(person, "127.0.0.1")
        if change == "role":
            await put_user(store, clock, "ana", role="viewer", password=None, actor="test")
        elif change == "password":
            await put_user(store, clock, "ana", role=None, password=PASSWORD, actor="test")
        else:
            await remove_user(store, clock, "ana", actor="test")
        assert await sessions.find(token) is None, change
    assert await people.by_password("ana", PASSWORD) is None


async def test_every_session_of_the_list_can_be_ended_from_it(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.console.sessions.SESSIONS_MAX", 1)
    sessions = _sessions(store, clock, _people(store))
    names = [f"user-{number}" for number in range(8)]
    for name in names:
        await sessions.open(Person(name, Role.VIEWER, b"proof"), "127.0.0.1")
        clock.advance(1)

    ended = []
    while listed := await sessions.listed():
        ended.append(await sessions.revoke(listed[0].id, actor="ana", reason="a test"))

    assert ended == names[::-1]
    with pytest.raises(UsageError, match="over already"):
        await sessions.revoke("0" * 16, actor="ana", reason="a test")


async def test_a_session_of_a_key_ends_with_the_key(store: Store, clock: SettableClock) -> None:
    people = _people(store, keys="vera:viewer:k1,shop:client:k2")
    person = people.by_key("k1")
    assert person is not None
    token = await _sessions(store, clock, people).open(person, "127.0.0.1")

    assert people.by_key("k2") is None
    assert await _sessions(store, clock, people).find(token) is not None
    assert await _sessions(store, clock, _people(store, keys="vera:operator:k1")).find(token) is None
    assert await _sessions(store, clock, _people(store, keys="vera:viewer:k3")).find(token) is None


async def test_failures_count_for_a_quarter_of_an_hour(store: Store, clock: SettableClock) -> None:
    sessions = _sessions(store, clock, _people(store))
    for _ in range(5):
        await sessions.attempt("eve", "10.0.0.1")

    with pytest.raises(ThrottledError):
        await sessions.attempt("eve", "10.0.0.1")
    await sessions.attempt("eve", "10.0.0.2")
    for number in range(25):
        await sessions.attempt(f"name-{number}", "10.0.0.1")
    with pytest.raises(ThrottledError):
        await sessions.attempt("ana", "10.0.0.1")
    clock.advance(FAILURES_S + 1)
    await sessions.attempt("ana", "10.0.0.1")
    await sessions.attempt("eve", "10.0.0.1")


async def test_of_many_sign_ins_at_once_no_more_are_looked_at_than_may_fail(store: Store, clock: SettableClock) -> None:
    sessions = _sessions(store, clock, _people(store))
    ways = [("eve", "10.0.0.1", 5), ("", "10.0.0.2", 30)]
    for name, address, bound in ways:
        tries = (sessions.attempt(name or f"name-{number}", address) for number in range(bound + 15))
        found = await asyncio.gather(*tries, return_exceptions=True)

        refused = [one for one in found if isinstance(one, BaseException)]
        assert (len(found) - len(refused), {type(one) for one in refused}) == (bound, {ThrottledError})


async def test_a_sign_in_that_succeeds_does_not_count(store: Store, clock: SettableClock) -> None:
    sessions = _sessions(store, clock, _people(store))
    for _ in range(7):
        attempt = await sessions.attempt("ana", "10.0.0.1")
        await sessions.open(Person("ana", Role.VIEWER, b"proof"), "10.0.0.1", attempt=attempt)

    assert len(await sessions.listed()) == 7


async def test_users_of_the_settings_sign_in_with_their_own_password_alone(store: Store) -> None:
    known = hash_password(PASSWORD)
    people = _people(store, users=f"ana:admin:{known}\nbert:viewer:{known}")

    assert known.startswith("$argon2id$")
    ana, bert = await people.by_password("ana", PASSWORD), await people.by_password("bert", PASSWORD)
    assert ana is not None
    assert bert is not None
    assert (ana.role, bert.role) == (Role.ADMIN, Role.VIEWER)
    for name, password in (("ana", "wrong"), ("carl", PASSWORD), ("", ""), ("ana", ""), ("ana", "x" * 10_000)):
        assert await people.by_password(name, password) is None
    assert await people.is_anybody()
    assert not await _people(store).is_anybody()


@pytest.mark.parametrize(
    "text", ["ana", "ana:admin", "ana:admin:secret", "ana:client:$argon2id$x", "a b:admin:$argon2id$x"]
)
def test_a_mistake_in_the_users_is_told_without_a_hash(text: str) -> None:
    with pytest.raises(ConfigError, match="HUB_CONSOLE_USERS: entry") as caught:
        read_users(text)

    assert "argon2id$x" not in str(caught.value)


async def test_a_user_needs_a_name_a_role_and_a_long_password(store: Store, clock: SettableClock) -> None:
    for name, role, password in (
        ("a b", "viewer", PASSWORD),
        ("ana", "client", PASSWORD),
        ("ana", "viewer", "short"),
        ("ana", None, PASSWORD),
        ("ana", "viewer", None),
    ):
        with pytest.raises(UsageError):
            await put_user(store, clock, name, role=role, password=password, actor="test")
    async with store.reading() as conn:
        assert await conn.scalar(text("SELECT COUNT(*) FROM console_users")) == 0


def test_a_password_is_hashed_as_the_standard_recommends() -> None:
    hasher = PasswordHasher()

    assert (hasher.type, hasher.memory_cost >= 19_456, hasher.time_cost >= 2) == (Type.ID, True, True)


async def test_the_token_itself_is_not_kept(store: Store, clock: SettableClock) -> None:
    people = _people(store, keys="vera:viewer:k1")
    person = people.by_key("k1")
    assert person is not None
    token = await _sessions(store, clock, people).open(person, "127.0.0.1")

    async with store.reading() as conn:
        row = (await conn.execute(text("SELECT * FROM console_sessions"))).one()
    assert token.encode() not in b"".join(str(value).encode() for value in row)
    assert await _sessions(store, clock, people).find("x" + token[1:]) is None


async def test_no_password_or_key_can_be_tried_against_what_is_kept(store: Store, clock: SettableClock) -> None:
    settings = Settings.model_validate({"console_password": PASSWORD})
    people = People(store, settings, ApiKeys.read("", "vera:viewer:k1"))
    sessions = _sessions(store, clock, people)
    admin, vera = await people.by_password("admin", PASSWORD), people.by_key("k1")
    assert admin is not None
    assert vera is not None
    tokens = [await sessions.open(person, "127.0.0.1") for person in (admin, admin, vera, vera)]

    async with store.reading() as conn:
        kept = {bytes(one) for one in await conn.scalars(select(t.console_sessions.c.credential))}
    assert len(kept) == 4, "equal proofs leave different rows"
    assert not kept & {admin.credential, vera.credential}
    assert [found.name for token in tokens if (found := await sessions.find(token))] == ["admin"] * 2 + ["vera"] * 2
    changed = Settings.model_validate({"console_password": PASSWORD + "!"})
    later = _sessions(store, clock, People(store, changed, ApiKeys.read("", "vera:viewer:k2")))
    assert [await later.find(token) for token in tokens] == [None] * 4
