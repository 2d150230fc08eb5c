"""The providers of a run: the capabilities' own stand-ins, asked in memory, going wrong by the seed's draws."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import requests
from aiohttp import web
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from handlers.paypal.sandbox_api import API_FAULTS, SandboxApi
from handlers.paypal.sandbox_book import Book, BookKeeper, Row, _new_book
from handlers.paypal.sandbox_webhooks import Postman
from handlers.paypay.sandbox import HTML, STATUS_OF_FAULT, Options, Sandbox
from handlers.paypay.sandbox_books import YEAR_S, User
from handlers.paypay.sandbox_faults import AFTER, BEFORE, DECIDED, NOTICES, READS, Luck
from handlers.paypay.sandbox_replies import Reply, reply_of
from handlers.sepay.bank_values import bank_time
from handlers.sepay.sandbox_bank import SandboxBank, TransactionList
from tests.simulation.chance import Chance, Weather
from tests.simulation.clock import VirtualClock
from tests.support.paypay import API_KEY, API_SECRET, MERCHANT

Mail = Callable[[str, str, Mapping[str, Any], float, int], None]
"""Takes a provider, a path, a body, how late it comes and how often: what the provider tells the hub."""
PAYPAY_URL: Final = "http://paypay.test"
SEPAY_TOKEN: Final = "simulated-statement-token"
PURSE_JPY: Final = 1_000_000
POCKET_SHARE: Final = 0.5
LATE_NOTICE_S: Final = 3_600.0
PAYPAL_FAULTS: Final = tuple(one for one in API_FAULTS if one != "duplicate")
"""A request that somebody between repeats may make two drafts of one invoice, and nothing of ours can help it."""


class PayPayChance:
    """Which fault a request meets; ``share`` of everything goes wrong until ``clear``."""

    def __init__(self, chance: Chance, weather: Weather) -> None:
        self._chance = chance
        self.share = weather.provider
        self.notices = weather.notices
        self.happened: list[str] = []

    def of(self, path: str, *, is_read: bool) -> Luck:
        place = "/".join(path.split("/")[:4])
        answers = [*BEFORE] if is_read else [*BEFORE, *AFTER]
        return Luck(
            answer=self._drawn("answer", answers, place, self.share),
            decision="" if is_read else self._drawn("decision", [*DECIDED], place, self.share / 2),
            read=self._drawn("read", [*READS], place, self.share / 2) if is_read else "",
            notice="" if is_read else self._drawn("notice", [*NOTICES], place, self.notices),
        )

    def clear(self) -> None:
        self.share = self.notices = 0.0

    def _drawn(self, kind: str, names: Sequence[str], place: str, share: float) -> str:
        drawn = self._chance.again("paypay", kind, place)
        if drawn >= share:
            return ""
        name = names[int(drawn / share * len(names))]
        self.happened.append(name)
        return name


class PayPayNotices:
    """What PayPay tells goes by the world's mail."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self.sent = 0

    def tell(self, path: str, body: Mapping[str, Any], *, delay_s: float = 0.0, fault: str = "") -> None:
        if fault == "notice-lost":
            return
        if fault == "notice-contradictory" and "status" in body:
            body = {**body, "status": {"SUCCESS": "FAILURE"}.get(body["status"], "SUCCESS")}
        if fault == "notice-late":
            delay_s += LATE_NOTICE_S
        elif fault == "notice-early":
            delay_s = 0.0
        self.sent += 1
        self._mail("paypay", path, body, delay_s, 3 if fault == "notice-duplicate" else 1)


class PlayedPayPay(Sandbox):
    """PayPay without a server: a request of the SDK's is answered where it is sent."""

    def __init__(self, chance: Chance, weather: Weather, clock: VirtualClock, mail: Mail) -> None:
        options = Options(api_key=API_KEY, api_secret=API_SECRET, merchant=MERCHANT, decides_s=2.0, refunds_max=1)
        super().__init__(options, clock=lambda: clock.world_s)
        luck: Any = PayPayChance(chance, weather)
        self.faults = luck
        notices: Any = PayPayNotices(mail)
        self.notices = notices
        self._ids = chance.random("paypay ids")
        self.cashbacks._new_id = self.payments._new_id = lambda: f"{self._ids.getrandbits(128):032x}"

    def _is_proven(self, request: Any, path: str, raw: bytes) -> bool:
        # The SDK asks the machine for the time that it signs, past every clock that could be moved.
        clock, self.clock = self.clock, lambda: datetime.now(UTC).timestamp()
        try:
            return super()._is_proven(request, path, raw)
        finally:
            self.clock = clock

    def has_member(self, member: str) -> None:
        """A member who has agreed before all this began."""
        now = int(self.clock())
        self.books.keep(
            User(
                id=f"user-{member}",
                reference_id=member,
                scopes=["cashback", "direct_debit"],
                issued_at=now,
                expires_at=now + YEAR_S,
                balance_jpy=PURSE_JPY,
            )
        )

    def send(self, request: requests.PreparedRequest) -> requests.Response:
        """In place of the SDK's way to the network."""
        address = urlsplit(request.url or "")
        raw = request.body.encode() if isinstance(request.body, str) else request.body or b""
        seen: Any = SimpleNamespace(
            method=request.method,
            headers=CaseInsensitiveDict(request.headers),
            query=dict(parse_qsl(address.query)),
            scheme="https",
            host="paypay.test",
        )
        self.calls += 1
        if not self._is_proven(seen, address.path, raw):
            self.refused += 1
            return _http(request, reply_of("unauthorized"))
        luck = self.faults.of(address.path, is_read=request.method == "GET")
        if luck.answer in BEFORE:
            return self._failed(luck.answer, request, None)
        reply = self._reply(seen, address.path, raw, luck)
        if luck.answer in AFTER and reply.http_status < 300:
            return self._failed(luck.answer, request, reply)
        return _http(request, reply)

    def _failed(self, fault: str, request: requests.PreparedRequest, reply: Reply | None) -> requests.Response:
        if fault.startswith("timeout"):
            raise requests.exceptions.ReadTimeout("no answer")
        if fault.startswith("reset"):
            raise requests.exceptions.ConnectionError("reset")
        if fault.startswith("html"):
            return _answered(request, STATUS_OF_FAULT[fault], HTML.encode())
        if fault == "no-result-info":
            return _answered(request, reply.http_status if reply else 200, b'{"data": null}')
        names = {"busy-429": "busy", "maintenance": "maintenance", "maintenance-after-commit": "maintenance"}
        return _http(request, reply_of(names.get(fault, "internal")))


def _http(request: requests.PreparedRequest, reply: Reply) -> requests.Response:
    return _answered(request, reply.http_status, json.dumps(reply.body).encode())


def _answered(request: requests.PreparedRequest, status: int, body: bytes) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer.request, answer.url = status, request, request.url or ""
    answer.raw = HTTPResponse(body=io.BytesIO(body), status=status, preload_content=False)
    return answer


class _MemoryBook(Book):
    """PayPal's book, whose faults are drawn."""

    fault_of: Callable[[str], str]

    def take_fault(self, place: str) -> Row | None:
        kind = self.fault_of(place)
        return {"kind": kind, "place": place} if kind else None


class _MemoryKeeper(BookKeeper):
    def __init__(self, book: Book) -> None:
        self.book = book

    @contextmanager
    def opened(self) -> Iterator[Book]:
        yield self.book


class PlayedPayPal(SandboxApi):
    """PayPal, whose webhooks go by the world's mail."""

    mail: Mail
    luck: PayPalChance

    def send(self, body: Row) -> None:
        self.mail("paypal", "/webhooks/paypal", body, 0.0, 1)


def played_paypal(
    postman: Postman, chance: Chance, weather: Weather, clock: VirtualClock, mail: Mail, *, client_id: str, secret: str
) -> PlayedPayPal:
    """PayPal in memory. Its share of faults is ``api.share``, and may be set to 0."""
    fresh = _new_book()
    book = _MemoryBook(plans=fresh.plans)
    book.has_loose_numbers = True
    world: Any = SimpleNamespace(now=lambda: clock.world_now)
    played = PlayedPayPal(_MemoryKeeper(book), postman, world, client_id, secret)
    played.mail = mail
    luck = PayPalChance(chance, weather.provider)
    book.fault_of = luck.of
    played.luck = luck
    return played


class PayPalChance:
    """Which fault a request meets."""

    def __init__(self, chance: Chance, share: float) -> None:
        self._chance = chance
        self.share = share
        self.happened: list[str] = []

    def of(self, place: str) -> str:
        drawn = self._chance.again("paypal", place)
        if drawn >= self.share or place == "webhook":
            return ""
        name = PAYPAL_FAULTS[int(drawn / self.share * len(PAYPAL_FAULTS))]
        self.happened.append(name)
        return name


class MemoryBank(SandboxBank):
    """The bank's books in memory."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}

    def book(self, *bodies: Mapping[str, Any]) -> None:
        for body in bodies:
            self.rows[body["id"]] = dict(body)

    def transfers(self, since: datetime | None = None, until: datetime | None = None) -> list[dict[str, Any]]:
        def is_within(body: Mapping[str, Any]) -> bool:
            booked_at = bank_time(body["transactionDate"])
            return (since is None or since <= booked_at) and (until is None or booked_at <= until)

        return [self.rows[number] for number in sorted(self.rows) if is_within(self.rows[number])]


async def listening(routes: Sequence[web.AbstractRouteDef]) -> tuple[web.AppRunner, str]:
    """Serve these routes in memory: the server, and its address."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{site.port}"


def statement_of(bank: MemoryBank) -> TransactionList:
    """SePay's list of transfers."""
    return TransactionList(bank, SEPAY_TOKEN)


@contextmanager
def asked_here(paypay: PlayedPayPay) -> Iterator[None]:
    """Within, what the SDK sends goes to this PayPay."""

    def send(_self: object, request: requests.PreparedRequest, **_more: object) -> requests.Response:
        return paypay.send(request)

    with patch("requests.adapters.HTTPAdapter.send", send):
        yield
