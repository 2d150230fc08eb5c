"""What a batch of transfers locks ahead: the wallets of all its intents and renewals, once and in one order."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.sepay.books import wallet_account
from handlers.sepay.locking import lock_together
from handlers.sepay.order_intents import top_up_for_order
from handlers.sepay.tables import PayWallet
from handlers.sepay.topup import request_topup
from hub.ledger.model import Account
from schemas.sepay import HeldTransferReleased, Transfer
from schemas.sepay_events import RenewalDue
from tests.unit.sepay.bench import USER, activate, ask_for_topup, settle, suspend, transfer
from tests.unit.sepay.desk import Desk
from tests.unit.sepay.shop_bench import intent_for, order, stock


async def test_the_wallets_of_a_whole_batch_are_found_and_named_in_one_order(desk: Desk) -> None:
    await stock(desk)
    waiting = await order(desk)
    await desk.run(top_up_for_order, {"user_id": USER, "order_id": waiting.order_id})
    others = [await desk.run(request_topup, {"user_id": user, "amount": 50_000}) for user in ("9", "10")]
    held = await ask_for_topup(desk)
    await suspend(desk)
    await settle(desk, held.transfer_content, id=1)
    codes = [(await intent_for(desk, waiting.order_id)).order_code_norm, *(one.result.order_code for one in others)]
    due = RenewalDue(subscription_id=waiting.order_id, user_id="nobody", due_at=desk.now)
    arguments = [
        *(Transfer.model_validate(transfer(desk, code, id=number)) for number, code in enumerate(codes, start=2)),
        Transfer.model_validate(transfer(desk, "x", "nothing", id=5)),
        Transfer.model_validate(transfer(desk, "no code", id=6)),
        HeldTransferReleased(sepay_tx_id=1),
        HeldTransferReleased(sepay_tx_id=99),
        due,
    ]

    async def work(conn: AsyncConnection) -> list[Account]:
        assert await lock_together([due], conn) == []
        assert await lock_together(arguments[4:5], conn) == ()
        return list(await lock_together(arguments, conn))

    by_user = {one.user_id: wallet_account(one.id) for one in await desk.rows(PayWallet)}
    assert await desk.store.write(work) == [by_user[user] for user in sorted(by_user)]
    await activate(desk)
