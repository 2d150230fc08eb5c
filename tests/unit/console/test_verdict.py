"""The verdict names what is wrong, worst first; and how things are written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hub.console.addresses import is_loopback, next_of
from hub.console.drawing.charts import curve
from hub.console.verdict import Facts, verdict
from hub.console.words import age, bound, breakable, change, rate, state
from hub.console.worklist import Counts
from hub.flow.pauses import Pause
from hub.money import Money
from hub.operate.checks import KeptCheck
from hub.operate.undecided import AgesOfProvider

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
FINE = Facts(
    counts=Counts(parked=0, unsent=0, undecided=0, reviews=0, conflicts=0),
    oldest_s=None,
    ages=(),
    pauses=(),
    providers=(),
    check=None,
    check_is_old=False,
    unsent=0,
)
BROKEN = KeptCheck(NOW, "ana", 1.0, False, {"sources": [], "states": {}, "violations": [{"sort": "x"}]})


def _pause(cause: str) -> Pause:
    return Pause(kind="provider", name="acme", cause=cause, paused_by="ana", reason="night", since=NOW, until=None)  # type: ignore[arg-type]


def test_a_hub_with_nothing_open_is_fine() -> None:
    assert verdict(FINE).tone == "good"
    assert verdict(replace(FINE, oldest_s=5.0)).findings == ()


@pytest.mark.parametrize(
    ("facts", "tone", "says"),
    [
        (replace(FINE, counts=replace(FINE.counts, parked=3)), "bad", "3 deliveries parked"),
        (replace(FINE, counts=replace(FINE.counts, conflicts=1)), "bad", "1 event came again"),
        (replace(FINE, counts=replace(FINE.counts, unsent=2)), "bad", "2 messages that no queue takes"),
        (replace(FINE, counts=replace(FINE.counts, reviews=1)), "wait", "1 result to be looked at"),
        (replace(FINE, ages=(AgesOfProvider("acme", (9, 0, 0, 0, 0), NOW),)), "good", ""),
        (replace(FINE, ages=(AgesOfProvider("acme", (0, 1, 0, 0, 0), NOW),)), "wait", "1 call to acme"),
        (replace(FINE, ages=(AgesOfProvider("acme", (0, 0, 0, 2, 0), NOW),)), "bad", "2 calls to acme"),
        (replace(FINE, oldest_s=120.0), "wait", "waited for 2 min"),
        (replace(FINE, oldest_s=7_200.0), "bad", "waited for 2 h"),
        (replace(FINE, oldest_s=7_200.0, pauses=(_pause("person"),)), "wait", "stands still"),
        (replace(FINE, pauses=(_pause("circuit"),)), "bad", "does not answer"),
        (replace(FINE, check=BROKEN), "bad", "1 violation"),
    ],
)
def test_each_trouble_is_named_with_what_it_weighs(facts: Facts, tone: str, says: str) -> None:
    found = verdict(facts)

    assert found.tone == tone
    assert says in " ".join(one.what for one in found.findings)
    assert all(one.path.startswith("/") for one in found.findings)


def test_what_is_worst_comes_first() -> None:
    found = verdict(
        replace(FINE, counts=Counts(parked=1, unsent=0, undecided=0, reviews=1, conflicts=1), oldest_s=90.0)
    )

    assert [one.tone for one in found.findings] == ["bad", "bad", "wait", "wait"]
    assert found.sentence == "2 things need you."


def test_times_amounts_and_states_are_written_for_people() -> None:
    assert [age(one) for one in (0.02, 59, 3_000, 90_000, 400_000)] == ["20 ms", "59 s", "50 min", "25 h", "5 d"]
    assert [bound(one) for one in (0, 10, 60, 900, 3_600, 86_400)] == ["0 s", "10 s", "1 min", "15 min", "1 h", "1 d"]
    assert [rate(one) for one in (50.0, 0.5)] == ["50", "0.5"]
    assert str(change(Money(5, "JPY"))) == '<span class="money">+5 JPY</span>'
    assert "\u2212" in change(Money(-5, "JPY"))
    assert str(breakable("<b>&.c")) == "&lt;b&gt;&amp;.<wbr>c"
    assert 'class="state bad"' in state("parked")


@pytest.mark.parametrize(
    ("host", "is_own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("hub", False)]
)
def test_only_this_machine_is_this_machine(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


def test_a_sign_in_goes_on_to_pages_of_the_console_alone() -> None:
    assert next_of("/console/events?q=1") == "/console/events?q=1"
    for text in (
        "//evil/console/",
        "/consolex",
        "/console/login?next=x",
        "/console/\r\nSet-Cookie: a",
        "/console/" + "x" * 999,
    ):
        assert next_of(text) == "/console/"


def test_a_curve_needs_two_points_and_holds_no_others() -> None:
    points = [(NOW + timedelta(minutes=number), number * 100 - 200) for number in range(5)]

    assert not curve(points[:1], "x")
    assert curve(points, '"><script>').count("<script>") == 0
    assert curve(points, "x").count("H") >= 4


def test_a_curve_says_its_highest_and_its_lowest() -> None:
    points = [(NOW + timedelta(minutes=number), number * 100 - 200) for number in range(5)]

    assert ">200 yen<" in curve(points, "x", "{} yen".format)
    assert ">-200 yen<" in curve(points, "x", "{} yen".format)
    assert " yen<" not in curve(points, "x")
