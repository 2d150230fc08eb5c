"""What people and tests do to the sandbox: log in, pay a code, order faults, have a file made, read the books.

Nothing here is PayPay's: the paths are the sandbox's own, below ``/admin``, and there are two pages for a browser.
Source: docs/providers/paypay.md, "Sandbox".
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Final, TypeAlias, get_args
from urllib.parse import urlencode

import jwt
from aiohttp import web

from handlers.paypay.sandbox import Options, Sandbox
from handlers.paypay.sandbox_books import YEAR_S, Cashback, Code, Link, Payment, Refund, Reversal, User
from handlers.paypay.sandbox_faults import FAULTS, chances_of
from handlers.paypay.sandbox_files import ENCODING, FileKind, file_name, transaction_file
from handlers.paypay.sandbox_notices import CALLBACK_PATH, WEBHOOK_PATH, declined_notice, file_notice, linked_notice
from handlers.paypay.sandbox_payments import JAPAN
from handlers.paypay.sandbox_replies import Refusal
from handlers.paypay.tokens import ALGORITHM, ISSUER, token_key
from hub.errors import UnreadableError, UsageError
from hub.jsonbody import parse_json

TOKEN_S: Final = 600
SHOP: Final = "サンドボックス"
PROFILE: Final = "*******1234"
TIMES_DEFAULT: Final = 1
NOTICES_MAX: Final = 1_000
_PAGE: Final = "<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{text}</p>{buttons}"
_BUTTON: Final = "<form method=post action='{action}'><button>{label}</button></form>"

Act: TypeAlias = Callable[[web.Request, Mapping[str, Any]], Mapping[str, Any]]


class Admin:
    """The sandbox's own doors."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._files: dict[str, bytes] = {}

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """Pages, files and the admin's doors, below the prefix."""
        prefix = self._sandbox.options.prefix
        yield web.get(f"{prefix}/link/{{id}}", self.link_page)
        yield web.post(f"{prefix}/link/{{id}}/{{result}}", self.link_pressed)
        yield web.get(f"{prefix}/pay/{{id}}", self.pay_page)
        yield web.post(f"{prefix}/pay/{{id}}", self.pay_pressed)
        yield web.get(f"{prefix}/files/{{name}}", self.file)
        for method, path, act in (
            ("GET", "faults", self.show_faults),
            ("POST", "faults", self.order_faults),
            ("DELETE", "faults", self.clear_faults),
            ("GET", "books", self.show_books),
            ("POST", "links/{id}", self.log_in),
            ("POST", "codes/{id}/pay", self.pay),
            ("POST", "users", self.put_user),
            ("POST", "files", self.make_file),
            ("POST", "notices", self.send_notice),
        ):
            yield web.route(method, f"{prefix}/admin/{path}", _door(act))

    def show_faults(self, _request: web.Request, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        """What can go wrong, with which chance, what is ordered, and how often each has happened."""
        faults = self._sandbox.faults
        orders = [asdict(order) for order in faults.orders]
        return {"known": FAULTS, "chances": faults.chances, "orders": orders, "happened": faults.happened}

    def order_faults(self, request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """``{"fault", "times", "path"}`` for the next requests, or ``{"chances": {name: chance}}`` from now on."""
        chances = body.get("chances")
        if isinstance(chances, Mapping):
            self._sandbox.faults.chances = chances_of([f"{name}={chance}" for name, chance in chances.items()])
        if "fault" in body:
            times = body.get("times", TIMES_DEFAULT)
            if type(times) is not int:
                raise UsageError("times: expected a number")
            self._sandbox.faults.order(str(body["fault"]), times=times, path=str(body.get("path", "")))
        return self.show_faults(request, body)

    def clear_faults(self, request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """No fault any more."""
        self._sandbox.faults.clear()
        return self.show_faults(request, body)

    def show_books(self, _request: web.Request, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Everything that PayPay knows, with the states of this moment."""
        sandbox, now = self._sandbox, self._sandbox.clock()
        books = sandbox.books
        return {
            "granted_jpy": sandbox.cashbacks.granted_jpy,
            "reversed_jpy": sum(one.taken_jpy for one in books.all(Reversal)),
            "calls": sandbox.calls,
            "calls_in_flight_most": sandbox.calls_in_flight_most,
            "refused": sandbox.refused,
            "notices_sent": sandbox.notices.sent,
            "cashbacks": [{**asdict(one), "status": one.status(now)} for one in books.all(Cashback)],
            "reversals": [{**asdict(one), "status": one.status(now)} for one in books.all(Reversal)],
            "payments": [{**asdict(one), "status": sandbox.payments.status(one, now)} for one in books.all(Payment)],
            "refunds": [{**asdict(one), "status": one.status(now)} for one in books.all(Refund)],
            "codes": [asdict(one) for one in books.all(Code)],
            "users": [asdict(one) for one in books.all(User)],
        }

    def log_in(self, request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A user opens the page of a link and agrees (``{"result": "succeeded"}``) or not (``"declined"``)."""
        return self._log_in(request.match_info["id"], str(body.get("result", "succeeded")))

    def _log_in(self, id: str, result: str) -> Mapping[str, Any]:
        sandbox, now = self._sandbox, self._sandbox.clock()
        link = sandbox.books.find(Link, id)
        if link is None or link.is_used:
            raise UsageError(f"no link {id} waits for a user")
        claims: dict[str, Any] = {
            "result": result,
            "aud": sandbox.options.api_key,
            "iss": ISSUER,
            "exp": int(now) + TOKEN_S,
            "nonce": link.nonce,
            "referenceId": link.reference_id,
        }
        if result == "succeeded":
            user = sandbox.cashbacks.agree(link, now)
            claims |= {"userAuthorizationId": user.id, "profileIdentifier": PROFILE}
            sandbox.notices.tell(WEBHOOK_PATH, linked_notice(user, link.nonce, now))
        else:
            link.is_used = True
            sandbox.books.keep(link)
            sandbox.notices.tell(WEBHOOK_PATH, declined_notice(link.reference_id, link.nonce, now))
        key = token_key(sandbox.options.api_secret)
        if key is None:
            raise UsageError("PAYPAY_API_SECRET is not base64, so no token can be signed with it")
        token = jwt.encode(claims, key, algorithm=ALGORITHM)
        query = urlencode({"apiKey": sandbox.options.api_key, "responseToken": token})
        separator = "&" if "?" in link.redirect_url else "?"
        return {"responseToken": token, "redirectUrl": f"{link.redirect_url}{separator}{query}"}

    def pay(self, request: web.Request, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A user scans a code and pays."""
        payment = self._sandbox.payments.pay_code(request.match_info["id"], self._sandbox.clock())
        self._sandbox.tell_payment(payment.id)
        return asdict(payment)

    def put_user(self, _request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A user who has agreed before: ``{"id", "reference_id", "scopes", "balance_jpy", "expires_at"}``."""
        now = int(self._sandbox.clock())
        user = User(
            id=str(body["id"]),
            reference_id=str(body.get("reference_id", "")),
            scopes=[str(scope) for scope in body.get("scopes", ["cashback"])],
            issued_at=now,
            expires_at=int(body.get("expires_at", now + YEAR_S)),
            balance_jpy=int(body.get("balance_jpy", 0)),
        )
        self._sandbox.books.keep(user)
        return asdict(user)

    def make_file(self, request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make the file of a day in Japan (``{"kind", "day"}``), and notify the hub of it."""
        sandbox = self._sandbox
        kind, today = str(body.get("kind", "transaction")), datetime.fromtimestamp(sandbox.clock(), JAPAN).date()
        if kind not in get_args(FileKind):
            raise UsageError(f"kind: expected one of {', '.join(get_args(FileKind))}")
        try:
            day = date.fromisoformat(str(body.get("day", today)))
        except ValueError:
            raise UsageError("day: expected YYYY-MM-DD") from None
        merchant = sandbox.options.merchant
        known: FileKind = "transaction" if kind == "transaction" else "preauth_transaction"
        name = file_name(known, merchant, day)
        self._files[name] = transaction_file(
            known, sandbox.books, sandbox.payments, merchant=merchant, shop=SHOP, day=day
        )
        url = f"{request.scheme}://{request.host}{sandbox.options.prefix}/files/{name}?sig=sandbox"
        notice = file_notice(url, sandbox.clock())
        sandbox.notices.tell(WEBHOOK_PATH, notice)
        return {"name": name, "bytes": len(self._files[name]), "encoding": ENCODING, "notice": notice}

    def send_notice(self, _request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send the hub any notification: ``{"to": "callback" or "webhook", "body": {…}, "times": 1}``."""
        paths = {"callback": CALLBACK_PATH, "webhook": WEBHOOK_PATH}
        path, times = paths.get(str(body.get("to", "callback"))), body.get("times", TIMES_DEFAULT)
        notice = body.get("body")
        if path is None or not isinstance(notice, Mapping) or type(times) is not int or not 1 <= times <= NOTICES_MAX:
            raise UsageError("expected to: callback or webhook, body: an object, times: a number")
        for _ in range(times):
            self._sandbox.notices.tell(path, notice)
        return {"sent_to": path, "times": times}

    async def link_page(self, request: web.Request) -> web.Response:
        """Where PayPay would ask a user to log in and to agree."""
        link = self._sandbox.books.find(Link, request.match_info["id"])
        if link is None or link.is_used:
            raise web.HTTPNotFound(text="This link is unknown or used.")
        text = f"{link.reference_id} lets the shop use: {', '.join(link.scopes)}"
        base = request.rel_url.raw_path.rstrip("/")
        return _page("PayPay sandbox", text, {f"{base}/succeeded": "Agree", f"{base}/declined": "Decline"})

    async def link_pressed(self, request: web.Request) -> web.Response:
        """The user has pressed a button: back to the shop."""
        try:
            done = self._log_in(request.match_info["id"], request.match_info["result"])
        except UsageError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        raise web.HTTPFound(done["redirectUrl"])

    async def pay_page(self, request: web.Request) -> web.Response:
        """What a user sees who has scanned a code."""
        code = self._sandbox.payments.code(request.match_info["id"])
        if code is None:
            raise web.HTTPNotFound(text="This code is unknown.")
        text = f"{code.body['amount']['amount']:,} yen for {code.body.get('orderDescription') or code.id}"
        return _page("PayPay sandbox", text, {request.rel_url.raw_path: "Pay"})

    async def pay_pressed(self, request: web.Request) -> web.Response:
        """The user pays."""
        try:
            done = self.pay(request, {})
        except Refusal as refusal:
            raise web.HTTPConflict(text=str(refusal)) from refusal
        return _page("PayPay sandbox", f"Paid {done['amount_jpy']:,} yen", {})

    async def file(self, request: web.Request) -> web.Response:
        """A transaction file."""
        made = self._files.get(request.match_info["name"])
        if made is None or request.query.get("sig") != "sandbox":
            raise web.HTTPNotFound(text="There is no such file.")
        return web.Response(body=made, content_type="text/csv")


def sandbox_routes(options: Options) -> tuple[Sandbox, list[web.AbstractRouteDef]]:
    """A sandbox and everything it serves."""
    sandbox = Sandbox(options)
    return sandbox, [*sandbox.routes(), *Admin(sandbox).routes()]


def _door(act: Act) -> Callable[[web.Request], Any]:
    """One of the admin's doors: JSON in, JSON out, mistakes as 400."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return _json(act(request, _read(await request.read())))
        except (UsageError, UnreadableError, Refusal, KeyError, TypeError, ValueError) as error:
            return _json({"error": str(error)}, status=400)

    return answer


def _read(raw: bytes) -> Mapping[str, Any]:
    parsed = parse_json(raw) if raw else {}
    if not isinstance(parsed, Mapping):
        raise UsageError("expected a JSON object")
    return parsed


def _json(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        status=status, text=json.dumps(body, ensure_ascii=False, default=str), content_type="application/json"
    )


def _page(title: str, text: str, buttons: Mapping[str, str]) -> web.Response:
    shown = "".join(_BUTTON.format(action=html.escape(to), label=html.escape(label)) for to, label in buttons.items())
    return web.Response(
        text=_PAGE.format(title=html.escape(title), text=html.escape(text), buttons=shown), content_type="text/html"
    )
