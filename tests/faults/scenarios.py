"""What is going on while the hub is crashed: senders that repeat until they are answered, and how it all must end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt

from tests.faults.books import Books
from tests.faults.judge import Expected, Wanted
from tests.faults.line import Line
from tests.support.running import API_KEY, WEBHOOK_KEY

DATA = Path(__file__).parents[1] / "data/loymax"
JWT_SECRET: Final = "crash-harness-jwt-secret-of-32-chars"

Quiet = Callable[[], Awaitable[None]]
"""Waits until the hub has nothing left to do with what it was sent so far."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message that lies in a source's queue before the hub starts."""

    message_id: str
    routing_key: str
    payload: bytes


Player = Callable[[Line, Quiet], Coroutine[Any, Any, None]]
"""The senders of a scenario."""


async def _nobody(line: Line, quiet: Quiet) -> None:
    return


@dataclass(frozen=True, slots=True)
class World:
    """What stands beside the hub in one trial and survives it, such as a provider.

    ``environ`` is what the hub is told of it, ``play`` the senders; ``judge``, and ``ends`` in the books, find what
    must not be there in the end. ``without`` names rules for every hub that do not hold here.
    """

    environ: Mapping[str, str]
    play: Player
    judge: Callable[[], Sequence[str]]
    ends: Callable[[Books], Awaitable[Sequence[str]]] | None = None
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story. ``play``, or that of its ``world``, is run once, whatever becomes of the hub meanwhile.

    ``expected`` is None where its world tells how it must end.
    """

    name: str
    expected: Expected | None
    play: Player = _nobody
    world: Callable[[Mapping[str, str]], AbstractAsyncContextManager[World]] | None = None
    queued: Sequence[QueuedMessage] = ()
    exchange: str = ""
    source_queues: Sequence[str] = ()

    @asynccontextmanager
    async def opened(self, environ: Mapping[str, str]) -> AsyncIterator[World]:
        """Its world for the hub of this environment, which is empty for most."""
        if self.world is None:
            yield World({}, self.play, tuple)
            return
        async with self.world(environ) as world:
            yield world


# --- A user tops a wallet up by bank transfer --------------------------------------------------------------------

USER: Final = "7"
TOPUP_MINOR: Final = 500_000
STRAY_MINOR: Final = 20_000
TOPUP_ID, STRAY_ID = 90_001, 90_002


async def _play_topup(line: Line, quiet: Quiet) -> None:
    token = jwt.encode({"sub": USER, "iat": 0, "exp": 2**33}, JWT_SECRET, algorithm="HS256")
    bearer = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = await line.ask("/api/seapay/wallet/topup/", json.dumps({"amount": TOPUP_MINOR}).encode(), bearer)
    told = answer.json()
    transfer = _transfer(TOPUP_ID, TOPUP_MINOR, f"MBVCB.4530998360.{told['order_code']}.CT tu NGUYEN VAN A", told)
    await _webhook(line, transfer)
    await _webhook(line, _transfer(STRAY_ID, STRAY_MINOR, "NGUYEN VAN B chuyen tien", told))
    # SePay repeats a delivery that was answered, too.
    await _webhook(line, transfer)


def _transfer(id_: int, amount_minor: int, content: str, told: Mapping[str, str]) -> bytes:
    # Spaces as SePay writes them: what is stored must be these bytes, not the same JSON.
    fields = {
        "gateway": "BIDV", "transactionDate": "2024-11-15 09:35:00", "accountNumber": told["account_number"],
        "subAccount": None, "code": None, "content": content, "transferType": "in", "description": "",
        "transferAmount": amount_minor, "referenceCode": f"FT{id_}", "accumulated": 0, "id": id_,
    }  # fmt: skip
    return json.dumps(fields, indent=1).encode()


async def _webhook(line: Line, body: bytes) -> None:
    headers = {"Authorization": f"Apikey {WEBHOOK_KEY}", "Content-Type": "application/json"}
    answer = await line.deliver("sepay", "/api/seapay/webhook/", body, headers, [body])
    assert answer.json() == {"success": True}


TOPUP = Scenario(
    name="top-up",
    play=_play_topup,
    expected=Expected(
        queues={
            "wallet.platform": [
                [
                    Wanted(
                        "wallet.credited",
                        members={
                            "user_id": USER,
                            "amount": TOPUP_MINOR,
                            "balance_after": TOPUP_MINOR,
                            "currency": "VND",
                        },
                    )
                ]
            ],
            "loyalty.platform": [
                [
                    Wanted(
                        "loyalty.wallet.credited",
                        members={"member_id": USER, "amount_minor": TOPUP_MINOR, "balance_after_minor": TOPUP_MINOR},
                    )
                ]
            ],
            "sepay.needs_review": [
                [Wanted("sepay.transaction.needs_review", members={"sepay_tx_id": STRAY_ID, "outcome": "unmatched"})]
            ],
        },
        entries=[f"sepay:transfer:{TOPUP_ID}", f"sepay:transfer:{STRAY_ID}"],
        balances={
            "sepay:wallet:%": TOPUP_MINOR,
            "sepay:suspense": STRAY_MINOR,
            "sepay:bank:%": TOPUP_MINOR + STRAY_MINOR,
        },
        reviews=["unmatched"],
    ),
)


# --- Loymax tells of two members, who are merged ------------------------------------------------------------------


def _fixture(name: str, **ids: tuple[int, int]) -> bytes:
    """A published example with other ids, otherwise byte for byte."""
    body = (DATA / f"{name}.json").read_bytes()
    for field_name, (old, new) in ids.items():
        for gap in (b"", b" "):
            body = body.replace(
                b'"%s":%s%d,' % (field_name.encode(), gap, old), b'"%s":%s%d,' % (field_name.encode(), gap, new)
            )
    return body


OFFER = b'{"offerId": 7, "eventCode": "OnOfferEdit"}'
BEGIN = _fixture("registration_begin", customerId=(121, 107))
FIRST = _fixture("purchase_confirm")
OTHER = _fixture("purchase_confirm", customerId=(107, 13), purchaseId=(512, 600))
REFUND = _fixture("purchase_refund")
ATTRIBUTE = _fixture("attribute_update", customerId=(126, 13))
MERGE = _fixture("profile_merge", customerId=(11, 107))
LATE = _fixture("purchase_confirm", customerId=(107, 13), purchaseId=(512, 700))
CARD = _fixture("card_block", customerId=(18, 107))

REWARD, WITHDRAWAL = 62_51_00, 10_00_00
TAKEN_BACK, GIVEN_BACK = 41_67_00, 6_67_00
AFTER_PURCHASE = REWARD - WITHDRAWAL
AFTER_REFUND = AFTER_PURCHASE + GIVEN_BACK - TAKEN_BACK
AFTER_MERGE = AFTER_REFUND + AFTER_PURCHASE


async def _play_forward(line: Line, quiet: Quiet) -> None:
    await quiet()
    await _post(line, [("customer.attribute.update", "m-6", ATTRIBUTE), ("customer.profile.merge", "m-7", MERGE)])
    # Routes do not wait for one another: only what is settled is known to come before.
    await quiet()
    await _post(line, [("purchases.confirm.modelUpdate", "m-8", LATE), ("customer.card.changeBlockState", "m-9", CARD)])


async def _post(line: Line, events: Sequence[tuple[str, str, bytes]]) -> None:
    one_by_one = [
        b'{"specversion":"1.0","source":"loymax","type":"%s","id":"%s","data":%s}'
        % (type_.encode(), id_.encode(), body.strip())
        for type_, id_, body in events
    ]
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/cloudevents-batch+json"}
    bodies = [body.strip() for _, _, body in events]
    await line.deliver("loymax", "/events", b"[%s]" % b",".join(one_by_one), headers, bodies)


def _as_is(routing_key: str, payload: bytes) -> Wanted:
    return Wanted(routing_key, payload)


def _loyalty(kind: str, member: str, reference: str, amount_minor: int, after_minor: int) -> Wanted:
    members = {
        "member_id": member, "reference": reference, "amount_minor": amount_minor, "balance_after_minor": after_minor,
    }  # fmt: skip
    return Wanted(f"loyalty.bonus.{kind}", members=members)


_begin = _as_is("customer.registration.begin", BEGIN)
_first = _as_is("purchases.confirm.modelUpdate", FIRST)
_other = _as_is("purchases.confirm.modelUpdate", OTHER)
_refund = _as_is("purchases.refundModelUpdate", REFUND)
_attribute = _as_is("customer.attribute.update", ATTRIBUTE.strip())
_merge = _as_is("customer.profile.merge", MERGE.strip())
_late = _as_is("purchases.confirm.modelUpdate", LATE.strip())
_card = _as_is("customer.card.changeBlockState", CARD.strip())

FORWARD = Scenario(
    name="forward",
    play=_play_forward,
    queued=[
        QueuedMessage("m-1", "customer.registration.begin", BEGIN),
        QueuedMessage("m-2", "purchases.confirm.modelUpdate", FIRST),
        QueuedMessage("m-3", "purchases.confirm.modelUpdate", OTHER),
        QueuedMessage("m-4", "purchases.refundModelUpdate", REFUND),
        QueuedMessage("m-5", "offer.edit", OFFER),
    ],
    exchange="loymax.events",
    source_queues=["hub.loymax"],
    expected=Expected(
        queues={
            # One group per member: only within one is an order promised.
            "smc.customerEvents": [[_begin, _first, _refund, _merge, _card], [_other, _attribute, _late]],
            "loymax.registration": [[_begin]],
            "loymax.cards": [[_card]],
            "loymax.purchases": [[_first, _refund], [_other, _late]],
            "loymax.profile": [[_attribute], [_merge]],
            "loymax.other": [[_as_is("offer.edit", OFFER)]],
            "loyalty.platform": [
                [
                    _loyalty("accrued", "107", "loymax:purchase:512", REWARD, REWARD),
                    _loyalty("redeemed", "107", "loymax:purchase:512", WITHDRAWAL, AFTER_PURCHASE),
                    _loyalty("reversed", "107", "loymax:refund:513", GIVEN_BACK - TAKEN_BACK, AFTER_REFUND),
                    _loyalty("merged", "107", "loymax:merge:13", AFTER_PURCHASE, AFTER_MERGE),
                    _loyalty("accrued", "107", "loymax:purchase:700", REWARD, AFTER_MERGE + REWARD),
                    _loyalty("redeemed", "107", "loymax:purchase:700", WITHDRAWAL, AFTER_MERGE + AFTER_PURCHASE),
                ],
                [
                    _loyalty("accrued", "13", "loymax:purchase:600", REWARD, REWARD),
                    _loyalty("redeemed", "13", "loymax:purchase:600", WITHDRAWAL, AFTER_PURCHASE),
                ],
            ],
        },
        entries=[
            "loymax:purchase:512",
            "loymax:purchase:600",
            "loymax:purchase:700",
            "loymax:refund:513",
            "loymax:merge:13",
        ],
        balances={
            "loymax:bonus:107:%": AFTER_MERGE + AFTER_PURCHASE,
            "loymax:bonus:13:%": 0,
            "loymax:rewards": 3 * REWARD - TAKEN_BACK,
            "loymax:redeemed": 3 * WITHDRAWAL - GIVEN_BACK,
        },
    ),
)

SCENARIOS: Final = {one.name: one for one in (TOPUP, FORWARD)}
