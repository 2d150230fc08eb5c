"""What PayPal's API says of subscriptions, their payments and past events, read into closed forms. It only reads.

Source: Subscriptions v1 (show, transactions), Webhooks v1 (list events); docs/providers/paypal.md, "Asking PayPal".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import quote

from handlers.paypal.client import CALL_S_MAX, Answer, Ask, Call, NoAnswerError
from handlers.paypal.events import money_of, text_of, time_of
from handlers.paypal.office import office_of
from handlers.paypal.proving import harmless
from handlers.paypal.settings import PaypalSettings
from hub.calls.outcome import Outcome, Settled, Unknown
from hub.errors import RetryableError
from hub.flow.priority import Priority
from hub.money import Money

if TYPE_CHECKING:
    from hub.api import HubApi
    from hub.deliver.context import Context

SUBSCRIPTIONS: Final = "/v1/billing/subscriptions"
EVENTS: Final = "/v1/notifications/webhooks-events"
PAGE_SIZE: Final = 300
LOOK_BACK: Final = timedelta(days=3)
"""How much earlier a payment may be at PayPal than its first webhook here."""
PAGES_MAX: Final = 100
"""Thirty thousand events, which are all in memory at once."""
PROVIDER: Final = "paypal"
TransactionStatus = Literal["COMPLETED", "DECLINED", "PARTIALLY_REFUNDED", "PENDING", "REFUNDED"]


class RefusedByPaypalError(RetryableError):
    """PayPal answers our question with a refusal, or with something that cannot be read. Nothing is concluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A payment of a subscription as PayPal lists it. ``fee`` is None where PayPal names none."""

    payment_id: str
    status: TransactionStatus
    gross: Money
    fee: Money | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A subscription as PayPal has it now."""

    subscription_id: str
    status: str
    custom_id: str | None
    plan_id: str | None
    changed_at: datetime | None


def in_turns(api: HubApi, settings: PaypalSettings, priority: Priority = Priority.READ) -> Ask:
    """Questions of a person or a page, each under the bounds that handlers have. They raise RetryableError."""
    client = office_of(settings).client

    async def ask(call: Call) -> Answer:
        async with api.turn(PROVIDER, priority) as turn:
            try:
                answer = await client.ask(call)
            except NoAnswerError as error:
                turn.saw(Unknown(str(error)))
                raise RetryableError(str(error)) from error
            except RetryableError as error:
                turn.saw(error)
                raise
            turn.saw(Settled() if answer.status < 500 else Unknown(f"PayPal answers {answer.status}"))
            return answer

    return ask


async def recorded(
    ctx: Context, step: str, request: Mapping[str, Any], question: Callable[[], Awaitable[Mapping[str, Any]]]
) -> Mapping[str, Any]:
    """Ask within a handler: what PayPal says, as JSON values, kept as the outcome of this step.

    Raises RetryableError while PayPal does not say.
    """

    async def send(request: Mapping[str, Any], key: str) -> Outcome:
        try:
            return Settled(await question())
        except NoAnswerError as error:
            return Unknown(str(error))

    outcome = await ctx.call(step, send, request, lookup=harmless, timeout_s=CALL_S_MAX)
    if not isinstance(outcome, Settled):
        raise RetryableError(f"PayPal has not said: {outcome.reason}")
    return outcome.data


async def show(ask: Ask, subscription_id: str) -> Shown | None:
    """One subscription; None where PayPal has no such one. Raises RetryableError, NoAnswerError."""
    answer = await ask(Call("GET", _path(subscription_id), "show-subscription"))
    if answer.status == 404:
        return None
    body = _body(answer, "show-subscription")
    status = text_of(body, "status")
    if text_of(body, "id") != subscription_id or status is None:
        raise RefusedByPaypalError("PayPal shows a subscription without its id or status")
    return Shown(
        subscription_id=subscription_id,
        status=status.upper(),
        custom_id=text_of(body, "custom_id"),
        plan_id=text_of(body, "plan_id"),
        changed_at=time_of(body, "update_time") or time_of(body, "status_update_time"),
    )


async def transactions(ask: Ask, subscription_id: str, since: datetime, until: datetime) -> Sequence[Transaction]:
    """The payments of a subscription in a time, oldest first; none where PayPal has no such subscription.

    One that cannot be read is an error: it must not pass for one that is not there. Raises RetryableError,
    NoAnswerError.
    """
    query = {"start_time": written(since), "end_time": written(until)}
    call = Call("GET", f"{_path(subscription_id)}/transactions", "list-transactions", query=query)
    answer = await ask(call)
    if answer.status == 404:
        return []
    body = _body(answer, "list-transactions")
    rows = body.get("transactions", [])
    pages = body.get("total_pages", 1)
    if not isinstance(rows, list) or (isinstance(pages, int) and pages > 1):
        raise RefusedByPaypalError("PayPal lists more payments than one answer holds: ask for a shorter time")
    return sorted((_transaction(row) for row in rows), key=lambda one: (one.at, one.payment_id))


async def past_events(ask: Ask, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
    """The bodies of the events that PayPal has told or tried to tell in a time, newest first, each once.

    Pages are asked for by time: PayPal lists the newest first, and links in answers are no addresses to call. Raises
    RetryableError, NoAnswerError.
    """
    found: dict[str, Mapping[str, Any]] = {}
    end = until
    for _ in range(PAGES_MAX):
        query = {"page_size": str(PAGE_SIZE), "start_time": written(since), "end_time": written(end)}
        body = _body(await ask(Call("GET", EVENTS, "list-events", query=query)), "list-events")
        rows = body.get("events", [])
        if not isinstance(rows, list):
            raise RefusedByPaypalError("PayPal lists no events")
        new = {
            id_: row for row in rows if isinstance(row, Mapping) and (id_ := text_of(row, "id")) and id_ not in found
        }
        found |= new
        if len(rows) < PAGE_SIZE:
            return list(found.values())
        oldest = min((at for row in rows if (at := time_of(row, "create_time"))), default=None)
        if oldest is None or not new:
            raise RefusedByPaypalError(f"PayPal lists more than {PAGE_SIZE} events of one moment")
        # Times have seconds: what is left of the oldest one comes again, and is known by its id.
        end = min(oldest, end)
    raise RefusedByPaypalError(f"PayPal lists more than {PAGES_MAX} pages of events: ask for a shorter time")


def written(time: datetime) -> str:
    """A time as PayPal reads it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _path(subscription_id: str) -> str:
    return f"{SUBSCRIPTIONS}/{quote(subscription_id, safe='')}"


def _body(answer: Answer, endpoint: str) -> Mapping[str, Any]:
    if not answer.is_ok or not isinstance(answer.body, Mapping):
        raise RefusedByPaypalError(f"PayPal answers {endpoint} with {answer.status} {answer.issue} ({answer.debug_id})")
    return answer.body


def _transaction(row: object) -> Transaction:
    data = row if isinstance(row, Mapping) else {}
    amounts = data.get("amount_with_breakdown")
    amounts = amounts if isinstance(amounts, Mapping) else {}
    id_, status, at = text_of(data, "id"), text_of(data, "status"), time_of(data, "time")
    gross = money_of(amounts.get("gross_amount"), "value")
    if id_ is None or at is None or gross is None or status not in get_args(TransactionStatus):
        raise RefusedByPaypalError(f"PayPal lists a payment that cannot be read: {id_ or 'without an id'}")
    fee = money_of(amounts.get("fee_amount"), "value")
    return Transaction(
        payment_id=id_,
        status=status,  # type: ignore[arg-type]  # one of them, as was just seen
        gross=gross,
        fee=abs(fee) if fee is not None else None,
        at=at,
    )
