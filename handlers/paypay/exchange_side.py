"""What the exchange of points adds to the capability.

Begin with ``exchanging.py`` (a member asks), ``cashback.py`` (PayPay is asked) and ``states.py`` (what its answers
mean); ``reversal.py`` takes back, ``sweep.py`` asks again, ``notices.py`` hears what PayPay tells unasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from handlers.paypay import tables_members
from handlers.paypay.announcing import FAILED, KINDS, REVERSED, SUCCEEDED, announce_points
from handlers.paypay.authorizations import check_authorization
from handlers.paypay.cashback import CHECK, check_cashback, give_cashback
from handlers.paypay.deciding import decide
from handlers.paypay.exchanging import REQUESTED, request_exchange, retry_exchange
from handlers.paypay.feeding import book, cancel_booking, grant_points
from handlers.paypay.networks import NAME, paypay_networks
from handlers.paypay.notices import AUTHORIZATION_CHECK, hint_authorization, hint_cashback
from handlers.paypay.reversal import (
    REVERSAL_CHECK,
    REVERSAL_REQUESTED,
    check_reversal,
    request_reversal,
    reverse_cashback,
)
from handlers.paypay.sessions import decide_session, link_session, start_session
from handlers.paypay.sweep import sweep
from hub.capability import HandlerSpec
from hub.ingress.schemes import SchemeFactory
from schemas.loyalty import LoyaltyEvent
from schemas.paypay_exchange import (
    AuthorizationCheck,
    BookingCancelled,
    BookingMade,
    CashbackCheck,
    CashbackRequested,
    CashbackResult,
    CashbackReversed,
    Notification,
    PointsGranted,
    PointsMoved,
    ReversalCheck,
    ReversalRequested,
)

__all__ = ["EMITS", "HANDLERS", "PUBLISHES", "SCHEMAS", "SCHEMES", "tables_members"]

HANDLERS: Final[Mapping[str, HandlerSpec]] = {
    "start_session": start_session,
    "link_session": link_session,
    "decide_session": decide_session,
    "check_authorization": check_authorization,
    "request_exchange": request_exchange,
    "retry_exchange": retry_exchange,
    "give_cashback": give_cashback,
    "check_cashback": check_cashback,
    "request_reversal": request_reversal,
    "reverse_cashback": reverse_cashback,
    "check_reversal": check_reversal,
    "sweep": sweep,
    "hint_cashback": hint_cashback,
    "hint_authorization": hint_authorization,
    "decide": decide,
    "announce_points": announce_points,
    "grant_points": grant_points,
    "book": book,
    "cancel_booking": cancel_booking,
}
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    "Notification": Notification,
    "CashbackResult": CashbackResult,
    "CashbackReversed": CashbackReversed,
    "PointsMoved": PointsMoved,
    "PointsGranted": PointsGranted,
    "BookingMade": BookingMade,
    "BookingCancelled": BookingCancelled,
}
SCHEMES: Final[Mapping[str, SchemeFactory]] = {NAME: paypay_networks}
EMITS: Final[Mapping[str, type[BaseModel]]] = {
    REQUESTED: CashbackRequested,
    CHECK: CashbackCheck,
    REVERSAL_REQUESTED: ReversalRequested,
    REVERSAL_CHECK: ReversalCheck,
    AUTHORIZATION_CHECK: AuthorizationCheck,
    SUCCEEDED: CashbackResult,
    FAILED: CashbackResult,
    REVERSED: CashbackReversed,
    **dict.fromkeys(KINDS, PointsMoved),
}
PUBLISHES: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "announce_points": dict.fromkeys(KINDS.values(), LoyaltyEvent),
}
