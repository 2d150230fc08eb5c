"""Exchanges of points while a fifth of all that PayPay does goes wrong and hubs are killed: everybody is paid once.

``make faults`` runs 2,000 of them and prints the figure, ``make test`` a sample.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import IS_EVERYTHING, Figures, Telling
from tests.faults.exchange_judge import Asked, Gift, Row, against_asked, against_gifts, figure_of
from tests.faults.exchanging import SPEED, trial_on
from tests.support.databases import Databases

EXCHANGES = 2_000 if IS_EVERYTHING else 40
KILLS = 40 if IS_EVERYTHING else 2
MEMBERS = 20 if IS_EVERYTHING else 4
TRIAL_S_MAX = 7_200 if IS_EVERYTHING else 600


@pytest.mark.timeout(TRIAL_S_MAX)
async def test_everybody_is_paid_once_whatever_paypay_does_and_whoever_is_killed(
    databases: Databases, tmp_path: Path, chance: Random, tell: Telling, figures: Figures
) -> None:
    database = await databases.fresh("postgresql")
    counts: Counter[str] = Counter()
    try:
        async with trial_on(database, tmp_path, seed=chance.randrange(2**32), speed=SPEED[IS_EVERYTHING]) as trial:
            await trial.begin(MEMBERS)
            await trial.exchange(EXCHANGES, chance, kills=KILLS)
            figure, found = await trial.end()
            faults = sum(trial.sandbox.faults.happened.values())
            counts.update(killed=trial.kills, events=len(trial.asked), violations=len(found))
    finally:
        await databases.drop(database)
        tell("exchanges", "postgresql", counts)
    figures(f"{figure}; {faults} faults of PayPay, {counts['killed']} hubs killed, {len(found)} violations")
    assert not found, "\n".join(found)
    assert (len(trial.asked), trial.kills) == (EXCHANGES, KILLS)
    assert figure.granted > 0
    assert faults > 0


PAID = Asked("k-1", "m-1", "APP", 200)
TRUE = Row("m-1 k-1", "cb-1", "SUCCESS", 200, 200, False, False, 200, 200, 0)
GIFT = Gift("cb-1", 200, "SUCCESS")


@pytest.mark.parametrize(
    ("row", "gifts", "violation"),
    [
        (TRUE, [GIFT, Gift("cb-2", 200, "SUCCESS")], "a grant belongs to an exchange"),
        (TRUE, [GIFT, GIFT], "an exchange is granted once"),
        (TRUE, [], "an exchange ends as PayPay says"),
        (TRUE, [replace(GIFT, yen=100)], "PayPay gave what was asked for"),
        (replace(TRUE, captured=100), [GIFT], "points follow the state"),
        (replace(TRUE, status="FAILED", captured=0, released=200), [GIFT], "an exchange ends as PayPay says"),
        (replace(TRUE, status="UNKNOWN", captured=0), [GIFT], "an exchange has ended, or a person was told"),
        (replace(TRUE, held=100), [GIFT], "all points of an exchange were held"),
        (replace(TRUE, has_parent=True), [GIFT], "nothing is tried again under a new id by itself"),
        (replace(TRUE, yen=100), [replace(GIFT, yen=100)], "points are worth what is published"),
        (replace(TRUE, key="m-1 k-2"), [GIFT], "an exchange that was accepted is there once"),
    ],
)
def test_the_judge_notices(row: Row, gifts: list[Gift], violation: str) -> None:
    assert against_asked([TRUE], [PAID]) + against_gifts([TRUE], [GIFT]) == []

    found = against_asked([row], [PAID]) + against_gifts([row], gifts)

    assert [one for one in found if one.startswith(violation)]


def test_the_figure_takes_the_published_rates() -> None:
    slow = Asked("k-2", "m-2", "PC", 200)
    row = replace(TRUE, key="m-2 k-2", gift="cb-2", yen=100)

    waits = replace(TRUE, key="m-1 k-3", gift="cb-4", status="MANUAL", captured=0, waits_for_person=True)
    gifts = [GIFT, Gift("cb-2", 100, "SUCCESS"), Gift("cb-3", 9, "FAILURE"), Gift("cb-4", 200, "SUCCESS")]

    figure = figure_of([TRUE, row, waits], [PAID, slow], gifts)

    assert (figure.exchanges, figure.granted, figure.waiting) == (3, 3, 1)
    assert (figure.granted_yen, figure.doubtful_yen, figure.captured_yen) == (500, 200, 300)
