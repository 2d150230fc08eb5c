"""PayPal's webhook: who gets as far as the inbox, and what a proof makes of what is stored there.

Nothing that the body says is believed, and no identity is held, before ``verify_webhook`` has proven it.
Source: docs/providers/paypal.md, "Webhooks".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select

from handlers.paypal.certificates import URLS_MAX, Kept
from handlers.paypal.events import PaypalEvent, read_event, said
from handlers.paypal.keys import key_of
from handlers.paypal.proving import Proof, body_text
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalCertificate
from handlers.paypal.transmission import KEPT, NotSignedError, Transmission
from handlers.paypal.verifying import Judgement
from hub.capability import calls, handler
from hub.errors import NotYet
from hub.event import Event, Verdict, stable_hash
from hub.flow.priority import Priority
from hub.ingress.authentication import Decision, Request, Scheme, refused
from hub.ingress.parameters import Parameters
from hub.store.upserts import insert_for
from schemas.paypal import EventFetched, WebhookRefused, WebhookVerified

if TYPE_CHECKING:
    from hub.deliver.context import Context

RECEIVED_TYPE: Final = "paypal.webhook.received"
VERIFIED_TYPE: Final = "paypal.webhook.verified"
REFUSED_TYPE: Final = "paypal.webhook.refused"
UNDECIDED_S_MAX: Final = 72 * 3_600.0
"""How long we try to find out. PayPal itself repeats for three days."""
GIVEN_UP: Final = "verification_unavailable"
VERIFY_S_MAX: Final = 240.0
PROVIDER: Final = "paypal-webhooks"
"""Not the one of the money calls: what strangers send must never hold those up."""
BODY_BYTES_TOLD_MAX: Final = 600_000
"""A larger body is left out of the message about its refusal; it stands in the hub."""


@dataclass(frozen=True, slots=True)
class PaypalScheme:
    """Lets everything in that could be proven later: all headers of a transmission, and a body."""

    def decide(self, request: Request, now: datetime) -> Decision:
        if not request.body:
            return refused("the body is empty")
        try:
            Transmission.read(request.headers, request.body)
        except NotSignedError as error:
            return refused(str(error))
        return Decision(Verdict.UNDECIDED, "to be proven by its signature")

    @property
    def headers_kept(self) -> frozenset[str]:
        """What the proof needs; others with such names are taken for secrets and dropped."""
        return KEPT


def paypal_transmission(values: Mapping[str, object]) -> Scheme:
    """Build ``paypal_transmission``, which has no parameters."""
    Parameters("paypal_transmission", values, ()).finish()
    return PaypalScheme()


@calls(PROVIDER, timeout_s=VERIFY_S_MAX, priority=Priority.READ)
async def verify_webhook(event: Event, ctx: Context) -> None:
    """Prove one delivery; what is proven goes on as ``paypal.webhook.verified``, once for each of PayPal's events.

    Running it again is safe: PayPal's event id is claimed in the same transaction. What cannot be decided is tried for
    72 hours and then refused; a refused one can be replayed once the cause is mended.
    """
    settings: PaypalSettings = ctx.settings
    account = settings.account_of(event.source)
    proof = Proof(event, settings.account(account), ctx)
    judgement = await proof.judgement()
    match judgement.verdict:
        case "undecided" if ctx.waited_s < UNDECIDED_S_MAX:
            # A day longer, so that the refusal below is this handler's, with all that it tells others.
            raise NotYet(judgement.reason, within_s=UNDECIDED_S_MAX + 86_400.0, on_deadline=GIVEN_UP, refuses=True)
        case "valid" | "simulated":
            await ctx.begin()
            if proof.fetched is not None:
                await _keep(ctx, event.headers["paypal-cert-url"], proof.fetched)
            await _pass_on(event, judgement, account, ctx)
        case "invalid":
            await _refuse(event, judgement.verdict, judgement.reason, "invalid", ctx)
        case "undecided":
            await _refuse(event, judgement.verdict, f"{GIVEN_UP}: {judgement.reason}", GIVEN_UP, ctx)


async def _pass_on(event: Event, judgement: Judgement, account: str | None, ctx: Context) -> None:
    found = read_event(event.data, event.payload)
    ctx.tag("paypal_event", found.id)
    # The simulator sends the same samples under the same ids to everybody: they hold none, and are told each time.
    if judgement.verdict == "valid" and not await _is_first(found, ctx):
        return
    verified = WebhookVerified(
        webhook_event_id=event.id,
        account=account,
        verdict="simulated" if judgement.verdict == "simulated" else "valid",
        received_at=event.received_at,
        transmission_id=event.headers["paypal-transmission-id"],
        event_id=found.id,
        event_type=found.type,
        event={},
    )
    # The body from our own reading: its numbers keep every digit.
    message = {**verified.model_dump(mode="json"), "event": event.data}
    await ctx.emit(VERIFIED_TYPE, message, key=await key_of(ctx.session, found))
    ctx.conclude(judgement.verdict)


@handler
async def take_fetched(fetched: EventFetched, ctx: Context) -> str:
    """Take an event that was read from PayPal's API, which has proven it; one that has come before is a duplicate."""
    found = read_event(fetched.event)
    ctx.tag("paypal_event", found.id)
    if await _is_first(found, ctx):
        verified = WebhookVerified(
            webhook_event_id=ctx.event.id,
            account=fetched.account,
            verdict="valid",
            received_at=ctx.event.received_at,
            transmission_id="",
            event_id=found.id,
            event_type=found.type,
            event={},
        )
        message = {**verified.model_dump(mode="json"), "event": ctx.event.data["event"]}
        await ctx.emit(VERIFIED_TYPE, message, key=await key_of(ctx.session, found))
        ctx.conclude("valid")
    return ctx.effects.outcome or ""


async def _is_first(found: PaypalEvent, ctx: Context) -> bool:
    # Read back from PayPal's API it has more around it; what it says is this.
    claim = await ctx.claim("event", found.id, same=said(found))
    if claim.is_ours:
        return True
    if claim.is_same:
        ctx.conclude("duplicate")
    else:
        ctx.review("conflict", f"PayPal signed event {found.id} before with other content: {claim.event_id}")
    return False


async def _refuse(event: Event, verdict: str, reason: str, outcome: str, ctx: Context) -> None:
    headers = {name: event.headers[name] for name in sorted(KEPT) if name in event.headers}
    body, encoding = body_text(event.payload, BODY_BYTES_TOLD_MAX)
    message = WebhookRefused.model_validate(
        {
            "webhook_event_id": event.id,
            "verdict": verdict,
            "reason": reason,
            "received_at": event.received_at,
            "headers": headers,
            "body": body,
            "body_encoding": encoding,
        }
    )
    await ctx.begin()
    # After a replay it may be refused for another reason, and that is news.
    await ctx.emit(REFUSED_TYPE, message, dedupe_id=stable_hash("refused", str(event.id), outcome, reason).hex())
    ctx.refuse(outcome, reason)


async def _keep(ctx: Context, url: str, kept: Kept) -> None:
    """Let other processes, and this one after a restart, do without fetching it again."""
    row = {"url": url, "pem": kept.pem.decode("ascii"), "fetched_at": kept.fetched_at}
    known = await ctx.session.get(PaypalCertificate, url)
    if known is not None and known.fetched_at >= kept.fetched_at:
        return
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalCertificate).values(row)
    await ctx.session.execute(
        new.on_conflict_do_update(
            index_elements=["url"], set_={"pem": new.excluded.pem, "fetched_at": new.excluded.fetched_at}
        )
    )
    newest = select(PaypalCertificate.url).order_by(PaypalCertificate.fetched_at.desc()).limit(URLS_MAX)
    await ctx.session.execute(delete(PaypalCertificate).where(PaypalCertificate.url.not_in(newest)))
