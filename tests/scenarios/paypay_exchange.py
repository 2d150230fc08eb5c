"""A shop whose members exchange points: a running hub, a PayPay of our own, and a clock that both go by."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from handlers.paypay.operating import sweep_once
from handlers.paypay.sandbox import Options, Sandbox
from handlers.paypay.sandbox_books import Cashback, Reversal
from handlers.paypay.sandbox_serving import serving
from handlers.paypay.states import Status
from handlers.paypay.tables import PayPayCashback, PayPayReversal, PayPaySession
from hub.ledger.read import list_accounts
from hub.operate.equation import check
from hub.operate.review import list_reviews
from hub.store import tables as t
from schemas.paypay_exchange import PersonDecided
from tests.support.clock import SettableClock
from tests.support.paypay import OwnTimeSandbox
from tests.support.running import API_KEY, PROJECT, RunningHub, environment, running, until

KEY: Final = "hub_test_api_key"
SECRET: Final = "aHViLXRlc3Qtc2VjcmV0LW5vdC1yZWFsLTAxMjM0NTY3ODk="
API: Final = "/api/v1/paypay"
CALLBACK: Final = f"{API}/cashback/callback"
RESULTS, LOYALTY = "paypay.results", "loyalty.platform"
REDIRECT: Final = "https://shop.example/mypage/points_exchange/menu"
CLIENT_KEY: Final = "test-client-key"
ENDS_S_MAX: Final = 300.0
STEPS_MAX: Final = 100
EVERY_FIVE_MINUTES: Final = 'sweep-paypay: { cron: "*/5 * * * *"'
NEVER: Final = 'sweep-paypay: { cron: "0 0 29 2 *"'


class Shop:
    """One running hub as the shop's backend, its operators and PayPay see it."""

    def __init__(self, hub: RunningHub, sandbox: Sandbox, sandbox_url: str, clock: SettableClock) -> None:
        self.hub = hub
        self.sandbox = sandbox
        self.sandbox_url = sandbox_url
        self.clock = clock
        self._grants = 0

    async def call(self, method: str, path: str, body: object = None, *, key: str = API_KEY) -> tuple[int, Any]:
        """Use the API with a key; the empty one brings none."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.hub.http.request(method, self.hub.url + path, json=body, headers=headers) as response:
            read = await response.text()
            return response.status, json.loads(read) if "json" in response.content_type else read

    async def member(
        self, member_id: str, *, purchase: int = 0, promotion: int = 0, booked_at: datetime | None = None
    ) -> None:
        """A member with points, who has booked a while ago."""
        when = (booked_at or self.clock.now()).isoformat()
        booking = {"booking_id": f"booking-of-{member_id}", "member_id": member_id, "booked_at": when}
        await self.tell("member.booking.made", booking)
        for source, points in (("purchase", purchase), ("promotion", promotion)):
            if points:
                await self.grant(member_id, points, source=source)
        await self.settled()

    async def grant(self, member_id: str, points: int, **more: str) -> None:
        """The shop gives points."""
        self._grants += 1
        grant = {"grant_id": f"grant-{self._grants}", "member_id": member_id, "points": points, **more}
        await self.tell("member.points.granted", {"source": "purchase", **grant})

    async def tell(self, type_: str, body: Mapping[str, Any]) -> None:
        """A message of the shop's, over HTTP as a CloudEvent."""
        headers = {
            "Authorization": f"Bearer {API_KEY}",
            "ce-specversion": "1.0",
            "ce-id": f"{type_}-{body.get('grant_id') or body.get('booking_id')}",
            "ce-source": "shop-members",
            "ce-type": type_,
            "Content-Type": "application/json",
        }
        status, answer = await self.hub.post("/events", json.dumps(body).encode(), **headers)
        assert status < 300, answer

    async def linked(self, member_id: str, device: str = "PC") -> str:
        """The member links an account, all the way: the id of the session."""
        session_id, link = await self.started(member_id, device)
        token = await self.logged_in(link)
        update = {"member_id": member_id, "responseToken": token}
        status, answer = await self.call("POST", f"{API}/sessions/update_session", update)
        assert (status, answer) == (200, {"session_id": session_id, "status": "LINKED"})
        return session_id

    async def started(self, member_id: str, device: str = "PC") -> tuple[str, str]:
        """A session, and the address of PayPay's page."""
        body = {"member_id": member_id, "device_type": device, "redirect_url": REDIRECT}
        status, answer = await self.call("POST", f"{API}/sessions", body, key=CLIENT_KEY)
        assert status == 201, answer
        return answer["session_id"], answer["link_url"]

    async def logged_in(self, link: str, result: str = "succeeded") -> str:
        """The member logs in at PayPay's page: the response token."""
        url = f"{self.sandbox_url}/admin/links/{link.rsplit('/', 1)[1]}"
        async with self.hub.http.post(url, json={"result": result}) as response:
            answer = await response.json()
        assert response.status == 200, answer
        token: str = answer["responseToken"]
        return token

    async def ask(self, member_id: str, session_id: str, points: object, key: str = "k-1") -> tuple[int, Any]:
        """The member asks for an exchange."""
        body = {"member_id": member_id, "session_id": session_id, "points": points, "idempotency_key": key}
        return await self.call("POST", f"{API}/cashback", body, key=CLIENT_KEY)

    async def exchanged(self, member_id: str, session_id: str, points: int, key: str = "k-1") -> str:
        """The member has asked, and PayPay was: the id of the exchange."""
        status, answer = await self.ask(member_id, session_id, points, key)
        assert status == 202, answer
        await self.settled()
        request_id: str = answer["request_id"]
        return request_id

    async def reversed(self, request_id: str, key: str = "r-1", **more: object) -> tuple[int, Any]:
        """An operator takes cashback back."""
        body = {"reason": "granted twice", "operator": "ann", "idempotency_key": key, **more}
        answer = await self.call("POST", f"{API}/cashback/{request_id}/reverse", body)
        await self.settled()
        return answer

    async def notified(self, body: Mapping[str, Any] | bytes, path: str = CALLBACK) -> tuple[int, Any]:
        """PayPay tells something."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.hub.post(path, data, **{"Content-Type": "application/json"})

    async def swept(self) -> int:
        """The sweep runs: only when a test says so, as the schedule stands still."""
        found = await sweep_once(self.hub.hub.api, by="ann")
        await self.settled()
        return found

    async def passes(self, seconds: float) -> None:
        """Time passes for everybody, and what was due by then is done."""
        self.clock.advance(seconds)
        await until(self._no_timer_is_due)
        await self.settled()

    async def goes_on_until(self, is_so: Callable[[], Awaitable[bool]], *, step_s: float = 5.0) -> None:
        """Time passes in steps, with a sweep after each, until something is so, however the work was ordered."""
        for _ in range(STEPS_MAX):
            if await is_so():
                return
            await self.passes(step_s)
            await self.swept()
        raise AssertionError(f"it is not so after {STEPS_MAX} steps of {step_s:g} s")

    async def time_flies(self, *, until_final: Sequence[str]) -> None:
        """Time runs, half a minute at a look, until these exchanges and every reversal have ended."""
        ids = [UUID(one) for one in until_final]

        async def have_ended() -> bool:
            self.clock.advance(30)
            await sweep_once(self.hub.hub.api, by="ann")
            async with self._session() as session:
                exchanges = await session.scalars(select(PayPayCashback.status).where(PayPayCashback.id.in_(ids)))
                reversals = await session.scalars(select(PayPayReversal.status))
                return all(Status(one).is_final for one in (*exchanges, *reversals))

        await until(have_ended, deadline_s=ENDS_S_MAX)
        await self.settled()

    @asynccontextmanager
    async def another_hub(self, database_url: str, home: Path) -> AsyncIterator[RunningHub]:
        """A second hub on the same database, with the same clock and the same PayPay."""
        async with running(_environment(home, database_url, self.sandbox_url), clock=self.clock) as hub:
            yield hub

    async def settled(self) -> None:
        await self.hub.settled()

    async def decided(self, request_id: str, decision: str, **more: object) -> str:
        """A person settles an exchange as PayPay's panel shows it; answers its state. Raises RefusedCommand."""
        order = {
            "request_id": request_id,
            "kind": "cashback",
            "decision": decision,
            "by": "ann",
            "note": "in the panel",
            **more,
        }
        decided = PersonDecided.model_validate(order)
        status = await self.hub.hub.api.command("paypay.person.decided", decided, key=request_id)
        await self.settled()
        return str(status)

    async def has_ended(self, request_id: str) -> bool:
        """Whether an exchange has ended."""
        return (await self.cashback(request_id)).state.is_final

    async def shares_authorization(self, session_id: str, other_id: str) -> None:
        """As where PayPay gives a member who links again the same authorization."""

        async def work(conn: AsyncConnection) -> None:
            of_other = select(PayPaySession.user_authorization_id).where(PayPaySession.id == UUID(other_id))
            shared = (await conn.execute(of_other)).scalar_one()
            change = update(PayPaySession).where(PayPaySession.id == UUID(session_id))
            await conn.execute(change.values(user_authorization_id=shared))

        await self.hub.hub.store.write(work)

    async def put_off(self) -> None:
        """Until a delivery waits for its next attempt."""
        await until(self._somebody_waits)

    async def status(self, request_id: str) -> str:
        """The state of an exchange."""
        return (await self.cashback(request_id)).status

    async def cashback(self, request_id: str) -> PayPayCashback:
        async with self._session() as session:
            row = await session.get(PayPayCashback, UUID(request_id))
            assert row is not None
            return row

    async def sessions(self) -> list[PayPaySession]:
        async with self._session() as session:
            return list((await session.scalars(select(PayPaySession).order_by(PayPaySession.created_at))).all())

    async def reversals(self) -> list[PayPayReversal]:
        async with self._session() as session:
            return list((await session.scalars(select(PayPayReversal).order_by(PayPayReversal.created_at))).all())

    async def balances(self) -> dict[str, int]:
        """Every account of the ledger with its balance."""
        async with self.hub.hub.store.reading() as conn:
            return {one.account.code: one.balance.amount_minor for one in await list_accounts(conn)}

    async def points(self, member_id: str) -> tuple[int, int]:
        """What a member can use, and what is held."""
        mine = {c: b for c, b in (await self.balances()).items() if c.startswith(f"paypay:points:{member_id}:")}
        return (
            sum(b for c, b in mine.items() if not c.endswith("#held")),
            sum(b for c, b in mine.items() if c.endswith("#held")),
        )

    async def messages(self, queue: str) -> list[tuple[str, Any]]:
        """Routing key and body of what is in a queue."""
        return [(row.routing_key, json.loads(row.payload)) for row in await self.hub.queue(queue)]

    async def outcomes(self, route: str) -> list[str]:
        """How the deliveries of a route ended, in order."""
        query = (
            select(t.deliveries.c.outcome)
            .join(t.routes, t.routes.c.id == t.deliveries.c.route_id)
            .where(t.routes.c.name == route)
            .order_by(t.deliveries.c.id)
        )
        async with self.hub.hub.store.reading() as conn:
            return list(await conn.scalars(query))

    async def reviews(self) -> list[str]:
        """What waits for a person."""
        return [one.outcome for one in await list_reviews(self.hub.hub.store)]

    def order(self, fault: str, *, times: int = 1, path: str = "/v2/cashback") -> None:
        """PayPay misbehaves on the next requests."""
        self.sandbox.faults.order(fault, times=times, path=path)

    def given(self) -> list[Cashback]:
        """What PayPay has given."""
        return [one for one in self.sandbox.books.all(Cashback) if one.decision == "SUCCESS"]

    def taken_back(self) -> int:
        return sum(one.taken_jpy for one in self.sandbox.books.all(Reversal))

    async def assert_nothing_lost_nor_paid_twice(self) -> None:
        """Points and yen agree with each other and with PayPay, and everything is accounted for."""
        balances = await self.balances()
        members = sum(b for c, b in balances.items() if c.startswith("paypay:points:") and c.count(":") > 2)
        spent = balances.get("paypay:points:spent", 0)
        assert members + spent == balances.get("paypay:points:issued", 0)
        async with self._session() as session:
            rows = (await session.scalars(select(PayPayCashback))).all()
            backs = (await session.scalars(select(PayPayReversal))).all()
        done = [row for row in rows if row.status == "SUCCESS"]
        assert spent == sum(row.points for row in done) - sum(back.returned_points for back in backs)
        paid, ids = balances.get("paypay:yen:members", 0), {row.id for row in done}
        taken = sum(back.reversed_amount_jpy for back in backs if back.cashback_request_id in ids)
        assert paid == sum(row.amount_jpy for row in done) - taken
        open_ones = {row.merchant_cashback_id for row in rows if not row.state.is_final}
        given = {one.id: one.amount_jpy for one in self.given() if one.id not in open_ones}
        assert given == {row.merchant_cashback_id: row.amount_jpy for row in done}
        async with self.hub.hub.store.reading() as conn:
            signed = "SUM(CASE side WHEN 'debit' THEN amount ELSE -amount END)"
            assert await conn.scalar(text(f"SELECT COALESCE({signed}, 0) FROM postings")) == 0
        assert (await check(self.hub.hub.store)).violations == ()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession]:
        async with self.hub.hub.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
            yield session

    async def _somebody_waits(self) -> bool:
        async with self.hub.hub.store.reading() as conn:
            waiting = select(t.deliveries.c.id).where(t.deliveries.c.state == "retrying").limit(1)
            return (await conn.execute(waiting)).first() is not None

    async def _no_timer_is_due(self) -> bool:
        async with self.hub.hub.store.reading() as conn:
            due = select(t.timers.c.id).where(t.timers.c.due_at <= self.clock.now()).limit(1)
            return (await conn.execute(due)).first() is None


@asynccontextmanager
async def paypay_shop(database_url: str, home: Path, clock: SettableClock) -> AsyncIterator[Shop]:
    """A hub and a PayPay; whatever a test does, nothing may be lost nor paid twice in the end."""
    clock.set(datetime.fromtimestamp(int(time.time()), UTC))
    options = Options(api_key=KEY, api_secret=SECRET, merchant="900000000000000001", hang_s=0.3, decides_s=2.0)
    async with serving(options) as (sandbox, url):
        sandbox.__class__ = OwnTimeSandbox
        sandbox.clock = lambda: clock.now().timestamp()
        environ = _environment(home, database_url, url)
        async with running(environ, clock=clock) as hub:
            shop = Shop(hub, sandbox, url, clock)
            yield shop
            await shop.settled()
            await shop.assert_nothing_lost_nor_paid_twice()


def _environment(home: Path, database_url: str, url: str) -> dict[str, str]:
    rules = (PROJECT / "routing.yaml").read_text().replace("file: tests/", f"file: {PROJECT}/tests/")
    assert EVERY_FIVE_MINUTES in rules
    home.mkdir(parents=True, exist_ok=True)
    routing = home / "paypay-routing.yaml"
    # Who sweeps first, the schedule or the test, must not matter to any test.
    routing.write_text(rules.replace(EVERY_FIVE_MINUTES, NEVER))
    return environment(
        home,
        database_url,
        HUB_ROUTING=str(routing),
        HUB_SANDBOX="0",
        HUB_API_KEYS=f"backend:client:{CLIENT_KEY}",
        PAYPAY_API_KEY=KEY,
        PAYPAY_API_SECRET=SECRET,
        PAYPAY_MERCHANT_ID="900000000000000001",
        PAYPAY_BASE_URL=url,
        PAYPAY_APP_CLIENTS="backend",
        PAYPAY_RATE_PER_S="10000",
    )
