"""The rules of the books on SQLite, which has row triggers only and one writer.

Each inserted move is checked, then applied to its two balances at once. The guard on balances accepts a change only
when the newest move of that row explains it; every move is applied when it is inserted, so no other UPDATE finds one.

SQLite's ways around a constraint, and what closes them: INSERT OR REPLACE deletes the old row without its triggers
(every table refuses an insert over an existing row); INSERT OR IGNORE passes its IGNORE on to the statements inside a
trigger and skips a failed CHECK there (the moves' trigger looks at the balances again afterwards); a column takes any
type (typeof).
"""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

from hub.ledger.ddl_postgresql import POSTINGS_VIEW
from hub.money import MONEY_MINOR_MAX


def _refuse(table: str, operation: str, message: str) -> str:
    name = f"{table}_no_{operation.lower()}"
    return f"CREATE TRIGGER {name} BEFORE {operation} ON {table} BEGIN SELECT RAISE(ABORT, 'ledger: {message}'); END"


def _refuse_replace(table: str, exists: str) -> str:
    return (
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}"
        f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {exists})"
        f" BEGIN SELECT RAISE(ABORT, 'UNIQUE constraint failed: ledger: {table} has this row already'); END"
    )


def _delta(side: str) -> str:
    """What the move changes on its debit or credit side, in that account's own direction."""
    return f"(CASE WHEN {side[0]}.side = '{side}' THEN NEW.amount ELSE -NEW.amount END)"


def _leg_faults(side: str) -> str:
    """Conditions of one side of a move; d, c = accounts, db, cb = balances."""
    a, after = side[0], f"NEW.{side}_after"
    b = f"{a}b"
    return f"""
        WHEN {a}.id IS NULL OR {b}.account_id IS NULL THEN RAISE(ABORT, 'ledger: there is no such account or slot')
        WHEN {a}.currency <> NEW.currency THEN RAISE(ABORT, 'ledger: the currency of the account is another')
        WHEN {a}.running AND {after} IS NOT {b}.balance + {_delta(side)}
            THEN RAISE(ABORT, 'ledger: the balance after the move is wrong')
        WHEN NOT {a}.running AND {after} IS NOT NULL
            THEN RAISE(ABORT, 'ledger: the account has no running balance')
        WHEN NOT {a}.may_go_negative AND {b}.balance + {_delta(side)} < 0
            THEN RAISE(ABORT, 'ledger: the account may not go below zero')
        WHEN abs({b}.balance + {_delta(side)}) > {MONEY_MINOR_MAX} THEN RAISE(ABORT, 'ledger: out of bounds')
        WHEN NEW.id <= {b}.last_move_id THEN RAISE(ABORT, 'ledger: the id is not newer than the last move')"""


_CHECK_MOVE = f"""
CREATE TRIGGER moves_check BEFORE INSERT ON moves BEGIN
    SELECT CASE
        WHEN typeof(NEW.id) <> 'integer' OR typeof(NEW.amount) <> 'integer' OR NEW.amount < 1
            THEN RAISE(ABORT, 'ledger: a move has a whole, positive amount')
        WHEN e.id IS NULL OR NEW.position > e.move_count
            THEN RAISE(ABORT, 'ledger: the move belongs to no entry, or beyond its end')
        WHEN NEW.position <> 1 AND NOT EXISTS
            (SELECT 1 FROM moves m WHERE m.entry_id = NEW.entry_id AND m.position = NEW.position - 1)
            THEN RAISE(ABORT, 'ledger: the moves of an entry come one after another')
        WHEN EXISTS (SELECT 1 FROM moves m WHERE m.id = NEW.id)
             OR EXISTS (SELECT 1 FROM moves m WHERE m.entry_id = NEW.entry_id AND m.position = NEW.position)
            THEN RAISE(ABORT, 'UNIQUE constraint failed: ledger: moves has this row already')
        WHEN NEW.debit_account = NEW.credit_account
            THEN RAISE(ABORT, 'ledger: one account is on both sides'){_leg_faults("debit")}{_leg_faults("credit")}
    END
    FROM (SELECT 1)
    LEFT JOIN entries e ON e.id = NEW.entry_id
    LEFT JOIN accounts d ON d.id = NEW.debit_account
    LEFT JOIN accounts c ON c.id = NEW.credit_account
    LEFT JOIN balances db ON db.account_id = NEW.debit_account AND db.slot = NEW.debit_slot
    LEFT JOIN balances cb ON cb.account_id = NEW.credit_account AND cb.slot = NEW.credit_slot;
END
""".strip()

_APPLY_MOVE = """
CREATE TRIGGER moves_apply AFTER INSERT ON moves BEGIN
    UPDATE balances SET last_move_id = NEW.id, balance = balance +
        (SELECT CASE WHEN a.side = 'debit' THEN NEW.amount ELSE -NEW.amount END
         FROM accounts a WHERE a.id = NEW.debit_account)
    WHERE account_id = NEW.debit_account AND slot = NEW.debit_slot;
    UPDATE balances SET last_move_id = NEW.id, balance = balance +
        (SELECT CASE WHEN a.side = 'credit' THEN NEW.amount ELSE -NEW.amount END
         FROM accounts a WHERE a.id = NEW.credit_account)
    WHERE account_id = NEW.credit_account AND slot = NEW.credit_slot;
    SELECT RAISE(ABORT, 'ledger: a balance did not follow its move')
    WHERE (SELECT last_move_id FROM balances WHERE account_id = NEW.debit_account AND slot = NEW.debit_slot)
          IS NOT NEW.id
       OR (SELECT last_move_id FROM balances WHERE account_id = NEW.credit_account AND slot = NEW.credit_slot)
          IS NOT NEW.id;
END
""".strip()

_GUARD_BALANCE = """
CREATE TRIGGER balances_guard BEFORE UPDATE ON balances BEGIN
    SELECT RAISE(ABORT, 'ledger: a balance changes only through a newer move')
    WHERE NEW.account_id <> OLD.account_id OR NEW.slot <> OLD.slot OR NEW.last_move_id <= OLD.last_move_id
       OR typeof(NEW.balance) <> 'integer' OR NOT EXISTS (
        SELECT 1 FROM moves m JOIN accounts a ON a.id = OLD.account_id
        WHERE m.id = NEW.last_move_id AND CASE
            WHEN m.debit_account = OLD.account_id AND m.debit_slot = OLD.slot
                THEN NEW.balance = OLD.balance + CASE WHEN a.side = 'debit' THEN m.amount ELSE -m.amount END
                     AND (NOT a.running OR m.debit_after = NEW.balance)
            WHEN m.credit_account = OLD.account_id AND m.credit_slot = OLD.slot
                THEN NEW.balance = OLD.balance + CASE WHEN a.side = 'credit' THEN m.amount ELSE -m.amount END
                     AND (NOT a.running OR m.credit_after = NEW.balance)
        END);
END
""".strip()

_BEGIN_BALANCE = """
CREATE TRIGGER balances_begin BEFORE INSERT ON balances BEGIN
    SELECT CASE
        WHEN NEW.balance IS NOT 0 OR NEW.last_move_id IS NOT 0 THEN RAISE(ABORT, 'ledger: a balance begins at zero')
        WHEN (SELECT running FROM accounts WHERE id = NEW.account_id) IS NULL
            THEN RAISE(ABORT, 'ledger: there is no such account')
        WHEN NEW.slot > 0 AND (SELECT running FROM accounts WHERE id = NEW.account_id)
            THEN RAISE(ABORT, 'ledger: a running account has one balance, in slot 0')
    END;
END
""".strip()

_CHECK_ENTRY = """
CREATE TRIGGER entries_check BEFORE INSERT ON entries BEGIN
    SELECT CASE
        WHEN NEW.reverses IS NOT NULL AND (NEW.reverses >= NEW.id
             OR NOT EXISTS (SELECT 1 FROM entries o WHERE o.id = NEW.reverses))
            THEN RAISE(ABORT, 'ledger: the entry it reverses is not an older one')
        WHEN NEW.hold_id IS NOT NULL AND NEW.hold_id <> NEW.id
             AND NOT EXISTS (SELECT 1 FROM entries o WHERE o.id = NEW.hold_id AND o.hold_id = o.id)
            THEN RAISE(ABORT, 'ledger: the entry names no hold')
        WHEN NEW.reverses_fully AND EXISTS
             (SELECT 1 FROM entries o WHERE o.reverses = NEW.reverses AND o.reverses_fully)
            THEN RAISE(ABORT, 'UNIQUE constraint failed: uq_entries_full_reversal')
    END;
END
""".strip()

_MOVED_BY_HOLD = """
(SELECT coalesce(sum(p.delta), 0) FROM entries e JOIN postings p ON p.entry_id = e.id
 WHERE e.hold_id = NEW.id AND e.id > {since} AND e.id <= NEW.last_entry_id
   AND p.account_id = NEW.held_account_id AND p.currency = NEW.currency)
""".strip()

_BEGIN_HOLD = f"""
CREATE TRIGGER holds_begin BEFORE INSERT ON holds BEGIN
    SELECT CASE
        WHEN NEW.state <> 'open' OR NEW.captured <> 0 OR NEW.released <> 0 OR NEW.last_entry_id <> NEW.id
            THEN RAISE(ABORT, 'ledger: a hold begins open')
        WHEN {_MOVED_BY_HOLD.format(since="0")} IS NOT NEW.amount
            THEN RAISE(ABORT, 'ledger: the hold is not what its entry moved')
    END;
END
""".strip()

_GUARD_HOLD = f"""
CREATE TRIGGER holds_guard BEFORE UPDATE ON holds BEGIN
    SELECT CASE
        WHEN OLD.state <> 'open' THEN RAISE(ABORT, 'ledger: the hold is closed')
        WHEN (OLD.id, OLD.reference, OLD.account_id, OLD.held_account_id, OLD.amount, OLD.currency, OLD.opened_at)
             <> (NEW.id, NEW.reference, NEW.account_id, NEW.held_account_id, NEW.amount, NEW.currency, NEW.opened_at)
             OR OLD.expires_at IS NOT NEW.expires_at
             OR NEW.captured < OLD.captured OR NEW.released < OLD.released OR NEW.last_entry_id <= OLD.last_entry_id
             OR typeof(NEW.captured) <> 'integer' OR typeof(NEW.released) <> 'integer'
            THEN RAISE(ABORT, 'ledger: a hold only gives out what is left')
        WHEN {_MOVED_BY_HOLD.format(since="OLD.last_entry_id")}
             IS NOT OLD.captured + OLD.released - NEW.captured - NEW.released
            THEN RAISE(ABORT, 'ledger: the hold changes by something else than its entries moved')
    END;
END
""".strip()

CREATE: tuple[str, ...] = (
    POSTINGS_VIEW,
    _refuse_replace("accounts", "id = NEW.id OR code = NEW.code"),
    _refuse("accounts", "UPDATE", "accounts are never changed"),
    _refuse("accounts", "DELETE", "accounts are never deleted"),
    _refuse_replace("entries", "id = NEW.id OR reference = NEW.reference"),
    _refuse("entries", "UPDATE", "entries are never changed"),
    _refuse("entries", "DELETE", "entries are never deleted"),
    _CHECK_ENTRY,
    _refuse("moves", "UPDATE", "moves are never changed"),
    _refuse("moves", "DELETE", "moves are never deleted"),
    _CHECK_MOVE,
    _APPLY_MOVE,
    _refuse_replace("balances", "account_id = NEW.account_id AND slot = NEW.slot"),
    _BEGIN_BALANCE,
    _GUARD_BALANCE,
    _refuse("balances", "DELETE", "balances are never deleted"),
    _refuse_replace("holds", "id = NEW.id OR reference = NEW.reference"),
    _BEGIN_HOLD,
    _GUARD_HOLD,
    _refuse("holds", "DELETE", "holds are never deleted"),
)

DROP_FIRST: tuple[str, ...] = ("DROP VIEW IF EXISTS postings",)

DROP_LAST: tuple[str, ...] = ()
