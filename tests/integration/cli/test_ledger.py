"""``hub ledger``: what the books say, and the proof."""

from __future__ import annotations

from tests.integration.cli.commanding import PURCHASE, PURCHASE_TYPE, Cli


def _purchase(cli: Cli) -> str:
    event_id = cli.publish(PURCHASE, PURCHASE_TYPE)
    cli.deliver()
    return event_id


def test_accounts_are_listed_with_balances_in_minor_and_whole_units(cli: Cli) -> None:
    _purchase(cli)

    table, listed = cli("ledger", "accounts"), cli("ledger", "accounts", "--prefix", "loymax:bonus", "--json").json

    assert "52.5100 BONUS" in table.out
    [account] = listed
    assert (account["balance_minor"], account["balance"], account["currency"]) == (525_100, "52.5100", "BONUS")
    assert cli("ledger", "accounts", "--currency", "USD", "--json").json == []
    assert "There may be more: --after" in cli("ledger", "accounts", "--limit", 1).out


def test_entries_are_listed_with_their_postings(cli: Cli) -> None:
    event_id = _purchase(cli)
    code = cli("ledger", "accounts", "--prefix", "loymax:bonus", "--json").json[0]["account"]

    table, [entry] = cli("ledger", "entries"), cli("ledger", "entries", "--event", event_id, "--json").json

    assert "+62.5100 BONUS" in table.out
    assert entry["reference"] == "loymax:purchase:512"
    by_side = {"debit": 0, "credit": 0}
    for posting in entry["postings"]:
        by_side[posting["side"]] += abs(posting["change_minor"])
    assert by_side["debit"] == by_side["credit"]
    own = [(one["before_minor"], one["after_minor"]) for one in entry["postings"] if one["account"] == code]
    assert own == [(0, 625_100), (625_100, 525_100)]
    assert [one["id"] for one in cli("ledger", "entries", "--account", code, "--json").json] == [entry["id"]]
    assert cli("ledger", "entries", "--before", entry["id"], "--json").json == []


def test_an_unknown_account_is_answered_with_the_nearest(cli: Cli) -> None:
    _purchase(cli)

    account, event = cli("ledger", "entries", "--account", "loymax:reward"), cli("ledger", "entries", "--event", "x")

    assert account.code == event.code == 2
    assert "there is no account 'loymax:reward'; did you mean 'loymax:rewards'?" in account.err
    assert "--event: expected an id such as" in event.err


def test_books_that_add_up_are_proven(cli: Cli) -> None:
    _purchase(cli)

    assert cli("ledger", "verify").out.startswith("The books add up")
    assert cli("ledger", "verify", "--json").json == {"ok": True, "differences": []}


def test_a_balance_that_was_changed_behind_the_books_is_found_and_ends_with_1(cli: Cli) -> None:
    _purchase(cli)
    for trigger in cli.sql("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'balances'"):
        cli.sql(f"DROP TRIGGER {trigger[0]}")
    cli.sql("UPDATE balances SET balance = balance + 1 WHERE balance > 0")

    table, report = cli("ledger", "verify"), cli("ledger", "verify", "--json")

    assert table.code == report.code == 1
    assert "expected" in table.out
    assert not report.json["ok"]
    assert report.json["differences"]
