"""A hub of a former version, run by ``test_upgrade.py`` with the former source tree first on the path.

Reads one command per line and answers each with a line of JSON. It leans on that version's own test helpers, so that
nothing of today is imported.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import hub
from hub.operate.equation import check
from tests.scenarios.bank import ACCOUNTS, Bank
from tests.scenarios.loymax import SAMPLES, publish
from tests.scenarios.shop import PRICE, Shop
from tests.support.running import RunningHub, environment, running

OPEN_MAY_STAY = frozenset({"ready", "retrying", "waiting"})


async def answer(hub: RunningHub, shop: Shop, command: str, number: int) -> dict[str, Any]:
    match command:
        case "sell":
            await shop.fund(500_000)
            await shop.order()
            for sample in SAMPLES[:4]:
                await publish(hub, sample, f"{sample.name}-{number}")
            await shop.bank.settled()
        case "check":
            report = await check(hub.hub.store)
            return {"received": report.received, "violations": [str(one) for one in report.violations]}
    return {"balance": await shop.balance()}


async def main(tree: str, home: str, database_url: str) -> None:
    assert hub.__file__ is not None
    assert Path(hub.__file__).is_relative_to(tree), hub.__file__
    environ = environment(
        Path(home), database_url, HUB_SANDBOX="0", SEPAY_ACCOUNTS=ACCOUNTS, SEPAY_INTENTS_PER_MINUTE_MAX="1000"
    )
    # Logs go elsewhere: standard output is for the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    async with running(environ) as life:
        shop = Shop(Bank(life))
        await shop.sells(PRICE, 30)
        print(json.dumps({"url": life.url}), file=out, flush=True)
        number = 0
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            number += 1
            print(json.dumps(await answer(life, shop, line, number)), file=out, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
