"""Every published flow has a test that plays it: this table says which."""

from __future__ import annotations

import ast
import json
from pathlib import Path

TESTS = Path(__file__).parents[2]
FILE = TESTS / "data/sepay/flow_scenarios.json"
PLAYED_BY = {
    "S1_topup": ("test_sepay_topup.py", "test_a_top_up_from_the_request_to_the_balance"),
    "S2_buy_with_wallet": ("test_sepay_orders.py", "test_an_order_that_the_wallet_can_pay_is_paid_at_once"),
    "S3_buy_with_sepay": ("test_sepay_orders.py", "test_an_order_by_transfer_is_paid_by_its_transfer"),
    "S4_short_then_pay_sepay": (
        "test_sepay_orders.py",
        "test_a_short_wallet_keeps_the_order_and_a_transfer_of_the_whole_pays_it",
    ),
    "S5_short_then_topup_sepay": (
        "test_sepay_orders.py",
        "test_a_short_wallet_is_topped_up_and_the_order_paid_by_it",
    ),
    "S6_short_then_ordinary_topup_then_pay_wallet": (
        "test_sepay_orders.py",
        "test_an_ordinary_top_up_leaves_the_order_to_its_user",
    ),
    "S7_lost_webhook": ("test_sepay_poll.py", "test_a_webhook_that_comes_after_the_poll_is_a_duplicate"),
    "S8_expire": ("test_sepay_topup.py", "test_a_code_that_nobody_paid_expires_on_schedule_and_late_money_waits"),
    "S9_new_intent_for_same_order": ("test_sepay_orders.py", "test_two_intents_of_one_order_pay_it_once"),
    "S10_lifetime_and_extension": (
        "test_sepay_orders.py",
        "test_a_licence_is_extended_from_its_end_and_a_lifetime_stays_one",
    ),
    "S11_license_expiry": ("test_sepay_jobs.py", "test_a_licence_ends_by_itself_and_the_job_says_so_once"),
    "S12_parallel_purchases": (
        "test_sepay_orders.py",
        "test_fifty_purchases_at_once_on_a_wallet_that_can_pay_one_pay_exactly_one",
    ),
}


def test_every_published_flow_is_played() -> None:
    published = [one["id"] for one in json.loads(FILE.read_bytes())["scenarios"]]

    assert list(PLAYED_BY) == published
    for name, test in PLAYED_BY.values():
        assert test in functions_of(TESTS / "scenarios" / name)


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)}
