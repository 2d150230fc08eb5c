"""What Loymax sends: purchases, refunds and merges, whose amounts end in the books."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from pydantic import BaseModel, ValidationError

from handlers.loyalty.cheque import sum_bonuses, warnings_of
from hub.errors import PermanentError, UnreadableError
from hub.jsonbody import parse_json
from hub.money import AMOUNT_MINOR_MAX, MONEY_MINOR_MAX
from schemas.loymax import BONUS_MAX, CustomerInfo, ProfilesMerged, PurchaseConfirmed, PurchaseData, PurchaseRefunded
from tests.hostile.parsers.inputs import expect, fuzz, is_storable, json_file, mutated_json

MODELS: Final[dict[str, type[BaseModel]]] = {
    "purchase_confirm": PurchaseConfirmed,
    "purchase_refund": PurchaseRefunded,
    "profile_merge": ProfilesMerged,
}
MESSAGES = {name: json_file(f"loymax/{name}.json") for name in MODELS}


def _read(body: bytes, model: type[BaseModel]) -> BaseModel | None:
    try:
        return model.model_validate(parse_json(body))
    except (UnreadableError, ValidationError):
        return None


@fuzz(40)
@given(mutated_json([MESSAGES["purchase_confirm"], MESSAGES["purchase_refund"]]))
def test_a_cheque_is_summed_exactly_within_what_a_move_may_carry_or_refused(body: bytes) -> None:
    for model in (PurchaseConfirmed, PurchaseRefunded):
        read = _read(body, model)
        if isinstance(read, PurchaseConfirmed | PurchaseRefunded):
            _judge(read.operation.purchase_data)
            _judge_member(read.customer_info)


def _judge(cheque: PurchaseData) -> None:
    lines = [*cheque.rewards, *cheque.withdraws]
    assert all(abs(line.amount) <= BONUS_MAX for line in lines)
    assert is_storable(cheque.purchase_id)
    assert 0 < len(cheque.purchase_id) <= 64
    warnings_of(cheque)
    try:
        sums = sum_bonuses(cheque)
    except PermanentError as error:
        expect(len(str(error)) < 300)
        return
    for found in sums:
        assert type(found.rewarded_minor) is int
        assert 0 <= found.rewarded_minor <= AMOUNT_MINOR_MAX * max(1, len(cheque.rewards)) <= MONEY_MINOR_MAX
        assert 0 <= found.withdrawn_minor <= AMOUNT_MINOR_MAX * max(1, len(cheque.withdraws))
        assert "#" not in found.currency_id


@fuzz(20)
@given(mutated_json([MESSAGES["profile_merge"]]))
def test_a_merge_names_two_members_or_is_refused(body: bytes) -> None:
    read = _read(body, ProfilesMerged)
    if isinstance(read, ProfilesMerged):
        _judge_member(read.ceased)
        _judge_member(read.survivor)


def _judge_member(member: CustomerInfo) -> None:
    assert 0 < len(member.customer_id) <= 64
    assert is_storable(member.customer_id)
    assert not any(letter.isspace() or letter == "#" for letter in member.customer_id)
