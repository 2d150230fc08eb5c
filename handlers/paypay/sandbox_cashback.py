"""How the sandbox's PayPay links users, gives cashback and takes it back.

A gift is accepted at once and decided later; its id is taken for ever, so that giving again under it is refused and
giving again under another id is a second gift. Source: docs/providers/paypay.md, "Sandbox".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from handlers.paypay.sandbox_books import FAILURE, SUCCESS, YEAR_S, Books, Cashback, Link, Reversal, User
from handlers.paypay.sandbox_replies import (
    Refusal,
    Reply,
    epoch_of,
    optional_text,
    reply_of,
    success,
    text_of,
    yen,
    yen_of,
)

NOT_ENOUGH_MONEY: Final = "NOT_ENOUGH_MONEY"
WALLET_TYPES: Final = (None, "PREPAID", "CASHBACK")
POCKET_JPY: Final = 100_000
"""What a user has to pay with; one that only gets cashback begins with nothing, so that reversals can fall short."""
SCOPES: Final = frozenset({"cashback", "direct_debit"})


@dataclass(slots=True, kw_only=True)
class Timing:
    """How long PayPay takes: to show what it accepted, and to decide it."""

    shows_s: float = 0.0
    decides_s: float = 1.0


class CashbackDesk:
    """PayPay's rules of linking, giving and taking back. ``new_id`` makes ids that nobody can guess."""

    def __init__(
        self, books: Books, *, merchant: str, wallet_jpy: int | None, timing: Timing, new_id: Callable[[], str]
    ) -> None:
        self._books = books
        self._merchant = merchant
        self._wallet_jpy = wallet_jpy
        self._timing = timing
        self._new_id = new_id

    def link(self, body: Mapping[str, Any], now: float, page: Callable[[str], str]) -> Reply:
        """Begin an account link; ``page`` makes the address of its page."""
        scopes, redirect_url = body.get("scopes"), text_of(body, "redirectUrl", length_max=2_048)
        if not isinstance(scopes, list) or not scopes:
            raise Refusal("missing")
        if not set(scopes) <= SCOPES or not redirect_url.startswith("https://"):
            raise Refusal("expectation")
        link = Link(
            id=self._new_id(),
            nonce=text_of(body, "nonce", length_max=255),
            reference_id=text_of(body, "referenceId", length_max=255),
            redirect_url=redirect_url,
            scopes=list(scopes),
            created_at=int(now),
        )
        self._books.keep(link)
        return success({"linkQRCodeURL": page(link.id)}, http_status=201)

    def agree(self, link: Link, now: float) -> User:
        """A user logs in at the page and agrees."""
        link.is_used = True
        self._books.keep(link)
        user = User(
            id=self._new_id(),
            reference_id=link.reference_id,
            scopes=link.scopes,
            issued_at=int(now),
            expires_at=int(now) + YEAR_S,
            balance_jpy=POCKET_JPY if "direct_debit" in link.scopes else 0,
        )
        self._books.keep(user)
        return user

    def authorization(self, user_id: str, now: float) -> Reply:
        """The state of a user's authorization."""
        user = self._books.find(User, user_id)
        if user is None:
            raise Refusal("no_user")
        is_active = user.is_active and now < user.expires_at
        return success(
            {
                "userAuthorizationId": user.id,
                "referenceIds": [user.reference_id],
                "status": "ACTIVE" if is_active else "INACTIVE",
                "scopes": user.scopes,
                "expireAt": user.expires_at,
                "issuedAt": user.issued_at,
            }
        )

    def unlink(self, user_id: str) -> Reply:
        """End an authorization."""
        user = self._books.find(User, user_id)
        if user is None:
            raise Refusal("no_user")
        user.is_active = False
        self._books.keep(user)
        return success({})

    def known_user(self, user_id: str, scope: str, now: float) -> User:
        """The user of a call that needs this scope. Raises Refusal."""
        user = self._books.find(User, user_id)
        if user is None or not user.is_active or scope not in user.scopes:
            raise Refusal("no_user")
        if now >= user.expires_at:
            raise Refusal("old_user")
        return user

    def give(self, body: Mapping[str, Any], now: float, *, fails: bool = False, slowly: float = 1.0) -> Reply:
        """Accept a gift. ``fails``: it will be decided against; ``slowly``: how much longer that takes."""
        id, amount_jpy = text_of(body, "merchantCashbackId"), yen_of(body)
        user_id, wallet_type = text_of(body, "userAuthorizationId"), body.get("walletType")
        requested_at, description = epoch_of(body), optional_text(body, "orderDescription")
        if wallet_type not in WALLET_TYPES:
            raise Refusal("invalid")
        if self._books.find(Cashback, id) is not None:
            raise Refusal("repeated")
        user = self.known_user(user_id, "cashback", now)
        is_short = self._wallet_jpy is not None and self.granted_jpy + amount_jpy > self._wallet_jpy
        decision = FAILURE if fails or is_short else SUCCESS
        self._books.keep(
            Cashback(
                id=id,
                number=self._books.next_number(),
                user=user.id,
                amount_jpy=amount_jpy,
                requested_at=requested_at,
                accepted_at=now,
                shows_at=now + self._timing.shows_s * slowly,
                decides_at=now + self._timing.decides_s * slowly,
                decision=decision,
                code=SUCCESS if decision == SUCCESS else NOT_ENOUGH_MONEY,
                wallet_type=wallet_type or "",
                order_description=description,
            )
        )
        if decision == SUCCESS:
            user.balance_jpy += amount_jpy
            self._books.keep(user)
        return reply_of("accepted")

    @property
    def granted_jpy(self) -> int:
        """What was given in all."""
        return sum(one.amount_jpy for one in self._books.all(Cashback) if one.decision == SUCCESS)

    def read(self, id: str, now: float) -> Reply:
        """A gift as it stands."""
        found = self._books.find(Cashback, id)
        if found is None or now < found.shows_at:
            raise Refusal("no_cashback")
        status = found.status(now)
        is_known_failure = status == FAILURE and found.code != SUCCESS
        return success(
            {
                "status": status,
                "acceptedAt": int(found.accepted_at),
                "merchantAlias": self._merchant,
                "amount": yen(found.amount_jpy),
                "requestedAt": found.requested_at,
                "metadata": {},
                "cashbackId": found.number,
                "merchantCashbackId": found.id,
                "userAuthorizationId": found.user,
                "orderDescription": found.order_description,
                "walletType": found.wallet_type,
            },
            code=found.code if is_known_failure else SUCCESS,
            code_id="WAL_500017" if is_known_failure else "",
        )

    def reverse(self, body: Mapping[str, Any], now: float, *, fails: bool = False, slowly: float = 1.0) -> Reply:
        """Accept a reversal; what it takes is what the user still has of it."""
        id, cashback_id = text_of(body, "merchantCashbackReversalId"), text_of(body, "merchantCashbackId")
        amount_jpy, requested_at = yen_of(body), epoch_of(body)
        optional_text(body, "reason")
        if self._books.find(Reversal, id) is not None:
            raise Refusal("repeated")
        cashback = self._books.find(Cashback, cashback_id)
        if cashback is None or cashback.decision != SUCCESS:
            raise Refusal("invalid")
        before_jpy = sum(one.taken_jpy for one in self._books.all(Reversal) if one.cashback == cashback_id)
        if amount_jpy > cashback.amount_jpy - before_jpy:
            raise Refusal("invalid")
        user = self._books.find(User, cashback.user)
        taken_jpy = 0 if fails or user is None else min(amount_jpy, user.balance_jpy)
        if user is not None and taken_jpy:
            user.balance_jpy -= taken_jpy
            self._books.keep(user)
        self._books.keep(
            Reversal(
                id=id,
                cashback=cashback_id,
                number=self._books.next_number(),
                asked_jpy=amount_jpy,
                taken_jpy=taken_jpy,
                requested_at=requested_at,
                accepted_at=now,
                shows_at=now + self._timing.shows_s * slowly,
                decides_at=now + self._timing.decides_s * slowly,
                decision=SUCCESS if taken_jpy else FAILURE,
            )
        )
        return reply_of("accepted")

    def read_reversal(self, id: str, cashback_id: str, now: float) -> Reply:
        """A reversal as it stands; its amount is what was taken, once that is decided."""
        found = self._books.find(Reversal, id)
        if found is None or found.cashback != cashback_id or now < found.shows_at:
            raise Refusal("no_cashback")
        status = found.status(now)
        return success(
            {
                "status": status,
                "acceptedAt": int(found.accepted_at),
                "merchantAlias": self._merchant,
                "amount": yen(found.taken_jpy if status == SUCCESS else found.asked_jpy),
                "requestedAt": found.requested_at,
                "metadata": {},
                "cashbackReversalId": found.number,
                "merchantCashbackReversalId": found.id,
                "merchantCashbackId": found.cashback,
            }
        )
