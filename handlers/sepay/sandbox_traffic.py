"""How SePay delivers: again after a failure, more than once, in no order, and sometimes not at all.

Source: docs/providers/sepay.md, "Sandbox"; https://developer.sepay.vn/en/sepay-webhooks/xu-ly-loi.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.sandbox import BANK_STYLES, Answer, Payment, webhook_fields
from hub.jsonbody import write_json

RETRY_WAITS_S: Final = (60, 60, 120, 180, 300, 480, 780)
"""What SePay waits before each repeat of a webhook that failed: eight deliveries within 33 minutes."""
TRANSFERS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A payment that somebody means to make: its normalised order code and whole dong."""

    code: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the bank has booked, and the webhooks of it: some sent twice or more, some lost, in any order."""

    booked: Sequence[Mapping[str, Any]]
    deliveries: Sequence[bytes]
    lost: int
    repeated: int


def traffic(
    asked: Sequence[Asked],
    account: ReceivingAccount,
    *,
    first_id: int,
    booked_at: datetime,
    duplicates: float,
    lost: float,
    seed: int,
) -> Traffic:
    """One transfer for each payment, through a bank of any style; the same seed gives the same traffic.

    Of the webhooks, the share ``lost`` never comes and the share ``duplicates`` comes again.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing here is secret, and a seed makes it repeatable
    styles = list(BANK_STYLES)
    booked = [
        webhook_fields(
            Payment(
                id=first_id + number,
                code=one.code,
                amount_minor=one.amount_minor,
                booked_at=booked_at + timedelta(seconds=number % 600),
                bank=chance.choice(styles),
            ),
            account,
        )
        for number, one in enumerate(asked)
    ]
    bodies = [write_json(body).encode() for body in booked]
    kept = chance.sample(bodies, len(bodies) - round(len(bodies) * lost))
    again = chance.choices(kept, k=round(len(bodies) * duplicates)) if kept else []
    deliveries = [*kept, *again]
    chance.shuffle(deliveries)
    return Traffic(booked, deliveries, lost=len(bodies) - len(kept), repeated=len(again))


async def deliver_until_thanked(
    send: Callable[[], Awaitable[Answer | None]],
    *,
    speed: float = 1.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[Answer | None]:
    """Send a webhook as SePay does with automatic retry: again after a failure, until it is thanked or eight times.

    ``send`` answers None when nobody could be reached. With ``speed`` 60 a minute lasts a second.
    """
    answers = [await send()]
    for wait_s in RETRY_WAITS_S:
        last = answers[-1]
        if last is not None and 200 <= last.status < 300:
            break
        await sleep(wait_s / speed)
        answers.append(await send())
    return answers
