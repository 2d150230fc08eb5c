"""A user asks to put money into the wallet: an intent, an order code and where to transfer the money.

Source: docs/providers/sepay.md, "Top-up".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.sepay.intents import IntentPlan, add_attempt, fresh_code, open_intent, refuse_hurry
from handlers.sepay.limits import lifetime, receiving_account, topup_amount
from handlers.sepay.order_codes import topup_code
from handlers.sepay.tables import WALLET_TOPUP, PayPaymentAttempt, PayPaymentIntent
from handlers.sepay.wallets import settings_of, wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.sepay import TopupReply, TopupRequested

if TYPE_CHECKING:
    from hub.deliver.context import Context


@handler
async def request_topup(request: TopupRequested, ctx: Context) -> TopupReply:
    """Open an intent with one attempt, and the wallet when there is none; answers with what the payer needs.

    Raises RefusedCommand with one of: invalid_amount, unsupported_currency, unknown_bank_code, invalid_request,
    wallet_suspended, too_many_requests. Nothing is stored then.
    """
    settings = settings_of(ctx)
    amount_minor = topup_amount(request.amount, request.currency, settings)
    account = receiving_account(request.bank_code, settings)
    ends_in = lifetime(request.expires_in_minutes, settings)

    wallet = await wallet_for_update(ctx, request.user_id, request.currency)
    if not wallet.is_active:
        raise RefusedCommand("wallet_suspended", "Wallet is suspended")
    await refuse_hurry(wallet, ctx)

    plan = IntentPlan(WALLET_TOPUP, amount_minor, account, ctx.now + ends_in)
    intent = await open_intent(wallet, await fresh_code(topup_code, ctx), plan, ctx)
    attempt = await add_attempt(intent, account, ctx)
    ctx.conclude("opened")
    return topup_reply(intent, attempt)


def topup_reply(intent: PayPaymentIntent, attempt: PayPaymentAttempt) -> TopupReply:
    """The answer to the payer."""
    link = attempt.qr_image_url or ""
    return TopupReply(
        intent_id=intent.intent_id,
        order_code=intent.order_code,
        amount=intent.amount_minor,
        currency=intent.currency,
        status=intent.status,
        qr_image_url=link,
        qr_code_url=link,
        account_number=attempt.account_number or "",
        account_name=attempt.account_name or "",
        transfer_content=attempt.transfer_content or "",
        bank_code=attempt.bank_code or "",
        expires_at=intent.expires_at,
    )
