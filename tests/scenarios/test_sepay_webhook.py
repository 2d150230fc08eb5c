"""SePay's webhook at the door of a running hub: who gets in, by which path, and what happens to what cannot be read."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from hub.store import tables as t
from tests.scenarios.bank import ACCOUNTS, WEBHOOK, Bank, transfer
from tests.support.clock import SettableClock
from tests.support.running import PROJECT, WEBHOOK_KEY, environment, running

INVALID = (400, {"success": False, "message": "Invalid payload"})
UNAUTHORIZED = (401, {"success": False, "message": "Unauthorized"})
SIGNING_SECRET = "test-signing-secret"
STRANGERS = [
    "",
    WEBHOOK_KEY,
    f"Bearer {WEBHOOK_KEY}",
    "Apikey ",
    f"Apikey {WEBHOOK_KEY[:-1]}",
    f"Apikey {WEBHOOK_KEY}x",
    f"Apikey {WEBHOOK_KEY}, Apikey {WEBHOOK_KEY}",
    "Apikey kh\u00f3a",
]
UNREADABLE = [
    (b"", "line 1, column 1"),
    (b"id=5&amount=7", "line 1, column 1"),
    (b'{\n "id": 5,\n', "line 3, column 1"),
    (b'{"id": 5, "id": 6}', "line 1, column 11"),
    (b'{"id": NaN}', "line 1, column 8"),
    (b'{"content": "\xff"}', "line 1, column 14"),
    (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "line 1, column 70"),
    (b'{"content": "no id"}', "id"),
    (b'{"id": "x"}', "id"),
    (b"[]", ""),
]
"""Bodies, and where the person who looks at them is sent."""


async def test_who_does_not_know_the_key_leaves_nothing_behind(bank: Bank) -> None:
    for authorization in STRANGERS:
        assert await bank.deliver(transfer("nothing"), authorization=authorization) == UNAUTHORIZED, authorization

    assert await bank.rows(t.inbox) == []
    assert await bank.rows(t.received_totals) == []


async def test_every_path_of_the_webhook_credits(bank: Bank) -> None:
    paths = [WEBHOOK, f"{WEBHOOK}/", "/api/seapay/webhook", "/api/seapay/webhook/"]
    for id, path in enumerate(paths, start=1):
        _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
        reply = await bank.deliver(transfer(asked["transfer_content"], id=id), path=path)
        assert (path, reply) == (path, (200, {"success": True}))

    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["credited"] * len(paths)


async def test_the_same_transfer_by_two_paths_credits_once(bank: Bank) -> None:
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})

    for path in (WEBHOOK, "/api/seapay/webhook/"):
        assert (await bank.deliver(transfer(asked["transfer_content"]), path=path))[0] == 200

    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["credited"]


async def test_what_cannot_be_read_is_kept_once_with_the_place_of_the_mistake(bank: Bank) -> None:
    for body, _ in UNREADABLE:
        assert [await bank.deliver(body) for _ in range(3)] == [INVALID] * 3

    kept = {row.payload: row.problem for row in await bank.rows_of_source("sepay")}
    assert list(kept) == [body for body, _ in UNREADABLE]
    for body, place in UNREADABLE:
        assert place in kept[body]
    parked = [(row.state, row.reason) for row in await bank.rows(t.deliveries)]
    assert parked == [("parked", problem) for problem in kept.values()]
    assert len(await bank.rows(t.duplicates)) == 2 * len(UNREADABLE)


async def test_the_dashboard_s_test_delivery_may_come_as_often_as_it_likes(bank: Bank) -> None:
    for _ in range(3):
        assert (await bank.deliver(transfer("Giao dich thu nghiem", id=0)))[0] == 200

    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["test_ping"] * 3
    assert await bank.rows(t.identities) == []


async def test_the_same_id_with_another_amount_is_a_conflict_for_a_person(bank: Bank) -> None:
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    await bank.deliver(transfer(asked["transfer_content"]))

    reply = await bank.deliver(transfer(asked["transfer_content"], 900_000))

    assert reply == (200, {"success": True})
    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["credited"]
    (conflict,) = await bank.rows(t.conflicts)
    assert (conflict.state, json.loads(conflict.payload)["transferAmount"]) == ("open", 900_000)


async def test_a_signed_webhook_credits_and_an_old_or_changed_one_does_not(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    routing = tmp_path / "routing.yaml"
    routing.write_text(signed_routing())
    environ = environment(
        tmp_path, database_url, SEPAY_ACCOUNTS=ACCOUNTS, SEPAY_WEBHOOK_SECRET=SIGNING_SECRET, HUB_ROUTING=str(routing)
    )
    async with running(environ, clock=clock) as hub:
        bank = Bank(hub)
        _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
        body = json.dumps(transfer(asked["transfer_content"])).encode()
        now = int(clock.now().timestamp())
        good = signature(now, body)

        changed = await hub.post(WEBHOOK, body.replace(b"100000", b"900000"), **good)
        too_old = await hub.post(WEBHOOK, body, **signature(now - 301, body))
        by_key = await bank.deliver(body)
        accepted = await hub.post(WEBHOOK, body, **good)

        assert [changed, too_old, by_key] == [UNAUTHORIZED] * 3
        assert accepted == (200, {"success": True})
        await bank.settled()
        assert await bank.outcomes("settle-bank-transfer") == ["credited"]
        await bank.assert_no_money_appeared_or_vanished()


def signature(timestamp: int, body: bytes) -> dict[str, str]:
    digest = hmac.new(SIGNING_SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-SePay-Signature": f"sha256={digest}", "X-SePay-Timestamp": str(timestamp)}


def signed_routing() -> str:
    """The project's own routing.yaml with the authentication that it proposes for production."""
    text = (PROJECT / "routing.yaml").read_text().replace("file: tests/", f"file: {PROJECT}/tests/")
    lines = [line for line in text.splitlines() if "scheme: api_key" not in line]
    start = next(number for number, line in enumerate(lines) if line.strip() == "# auth:")
    for number in range(start, start + 8):
        lines[number] = lines[number].replace("# ", "", 1)
    return "\n".join(lines)
