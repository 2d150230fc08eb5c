"""The rules of the books on PostgreSQL.

``ledger_apply_moves`` runs once per statement that inserts moves: it checks them all and applies them to the balances.
An entry is checked when it is inserted, and must have all its moves by the end of that statement: both go in by one
statement (a data-modifying WITH). So an entry is complete from the start and can never get another move.
"""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

# Small or unanalysed tables make the planner choose joins that read every balance; these functions only ever look up
# rows by key, so their plans are pinned.
_PINNED = """
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
""".strip()

POSTINGS_VIEW = """
CREATE VIEW postings AS
SELECT p.move_id, p.entry_id, p.position, p.account_id, p.slot, p.side, p.amount, p.delta,
       p.after - p.delta AS balance_before, p.after AS balance_after, p.currency
FROM (
    SELECT m.id AS move_id, m.entry_id, m.position, m.debit_account AS account_id, m.debit_slot AS slot,
           'debit' AS side, m.amount, CASE WHEN a.side = 'debit' THEN m.amount ELSE -m.amount END AS delta,
           m.debit_after AS after, m.currency
    FROM moves m JOIN accounts a ON a.id = m.debit_account
    UNION ALL
    SELECT m.id, m.entry_id, m.position, m.credit_account, m.credit_slot,
           'credit', m.amount, CASE WHEN a.side = 'credit' THEN m.amount ELSE -m.amount END,
           m.credit_after, m.currency
    FROM moves m JOIN accounts a ON a.id = m.credit_account
) AS p
""".strip()

_REFUSE = """
CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger: %', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$
""".strip()

# The balance is read before the update and named again in its WHERE: where another writer came between, the row no
# longer matches, the count is short and the statement is refused. An account that is not running is only added to.
_APPLY_MOVES = f"""
CREATE FUNCTION ledger_apply_moves() RETURNS trigger LANGUAGE plpgsql {_PINNED} AS $$
DECLARE
    fault text;
    touched bigint;
    applied bigint;
BEGIN
    SELECT format('move %s belongs to no entry, or beyond its end', m.id) INTO fault
    FROM inserted m LEFT JOIN entries e ON e.id = m.entry_id
    WHERE e.id IS NULL OR m.position > e.move_count LIMIT 1;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: %', fault USING ERRCODE = 'integrity_constraint_violation';
    END IF;

    WITH legs AS MATERIALIZED (
        SELECT l.id, l.account_id, l.slot, l.after, l.currency AS move_currency,
               a.currency, a.running, a.may_go_negative, b.balance, b.last_move_id,
               CASE WHEN a.side = l.side THEN l.amount ELSE -l.amount END AS delta,
               sum(CASE WHEN a.side = l.side THEN l.amount ELSE -l.amount END)
                   OVER (PARTITION BY l.account_id, l.slot ORDER BY l.id) AS moved
        FROM (
            SELECT id, debit_account AS account_id, debit_slot AS slot, debit_after AS after,
                   'debit' AS side, amount, currency FROM inserted
            UNION ALL
            SELECT id, credit_account, credit_slot, credit_after, 'credit', amount, currency FROM inserted
        ) l
        LEFT JOIN accounts a ON a.id = l.account_id
        LEFT JOIN balances b ON b.account_id = l.account_id AND b.slot = l.slot
    ), faults AS (
        SELECT id, account_id, CASE
            WHEN currency IS NULL OR balance IS NULL THEN 'there is no such account or slot'
            WHEN currency <> move_currency THEN 'its currency is another'
            WHEN running AND after IS DISTINCT FROM balance + moved THEN 'the balance after it is wrong'
            WHEN NOT running AND after IS NOT NULL THEN 'the account has no running balance'
            WHEN NOT may_go_negative AND balance + moved < 0 THEN 'the account may not go below zero'
            WHEN id <= last_move_id THEN 'its id is not newer than the last one'
        END AS fault
        FROM legs
    ), sums AS (
        SELECT account_id, slot, sum(delta) AS delta, max(id) AS last_move_id,
               bool_or(running) AS running, min(balance) AS balance
        FROM legs GROUP BY account_id, slot
    ), updated AS (
        UPDATE balances b SET balance = b.balance + s.delta, last_move_id = s.last_move_id
        FROM sums s
        WHERE b.account_id = s.account_id AND b.slot = s.slot AND b.last_move_id < s.last_move_id
          AND (NOT s.running OR b.balance = s.balance)
        RETURNING 1
    )
    SELECT (SELECT format('move %s, account %s: %s', f.id, f.account_id, f.fault)
            FROM faults f WHERE f.fault IS NOT NULL LIMIT 1),
           (SELECT count(*) FROM sums), (SELECT count(*) FROM updated)
    INTO fault, touched, applied;

    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: %', fault USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF touched <> applied THEN
        RAISE EXCEPTION 'ledger: % balances were to change, % did: another writer came between', touched, applied
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
""".strip()

_CHECK_ENTRIES = f"""
CREATE FUNCTION ledger_check_entries() RETURNS trigger LANGUAGE plpgsql {_PINNED} AS $$
DECLARE
    fault text;
BEGIN
    SELECT format('entry %s: %s', c.id, c.fault) INTO fault FROM (
        SELECT e.id, CASE
            WHEN (SELECT count(*) FROM moves m WHERE m.entry_id = e.id) <> e.move_count
                THEN 'it has not the moves it announces'
            WHEN e.reverses IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM entries o WHERE o.id = e.reverses AND o.id < e.id)
                THEN 'the entry it reverses is not an older one'
            WHEN e.hold_id IS NOT NULL
                 AND (SELECT o.hold_id FROM entries o WHERE o.id = e.hold_id) IS DISTINCT FROM e.hold_id
                THEN 'it names no hold'
        END AS fault
        FROM inserted e
    ) c WHERE c.fault IS NOT NULL LIMIT 1;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: %', fault USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
""".strip()

_CHECK_BALANCE_ROW = """
CREATE FUNCTION ledger_check_balance_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_running boolean;
BEGIN
    IF NEW.balance <> 0 OR NEW.last_move_id <> 0 THEN
        RAISE EXCEPTION 'ledger: a balance begins at zero' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT running INTO is_running FROM accounts WHERE id = NEW.account_id;
    IF is_running IS NULL OR (is_running AND NEW.slot > 0) THEN
        RAISE EXCEPTION 'ledger: there is no such account, or it is running and has one balance, in slot 0'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
""".strip()

# What left the held account (or, for a new hold, came into it) must be what the newer entries of this hold moved.
_CHECK_HOLD = f"""
CREATE FUNCTION ledger_check_hold() RETURNS trigger LANGUAGE plpgsql {_PINNED} AS $$
DECLARE
    moved bigint;
    since bigint := 0;
    change bigint := NEW.amount;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'open' THEN
            RAISE EXCEPTION 'ledger: hold % is closed', OLD.id USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF (OLD.id, OLD.reference, OLD.account_id, OLD.held_account_id, OLD.amount, OLD.currency, OLD.opened_at)
           <> (NEW.id, NEW.reference, NEW.account_id, NEW.held_account_id, NEW.amount, NEW.currency, NEW.opened_at)
           OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
           OR NEW.captured < OLD.captured OR NEW.released < OLD.released
           OR NEW.last_entry_id <= OLD.last_entry_id THEN
            RAISE EXCEPTION 'ledger: hold % only gives out what is left', OLD.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        since := OLD.last_entry_id;
        change := OLD.captured + OLD.released - NEW.captured - NEW.released;
    ELSIF NEW.state <> 'open' OR NEW.last_entry_id <> NEW.id THEN
        RAISE EXCEPTION 'ledger: a hold begins open' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT coalesce(sum(p.delta), 0) INTO moved
    FROM entries e JOIN postings p ON p.entry_id = e.id
    WHERE e.hold_id = NEW.id AND e.id > since AND e.id <= NEW.last_entry_id
      AND p.account_id = NEW.held_account_id AND p.currency = NEW.currency;
    IF moved <> change THEN
        RAISE EXCEPTION 'ledger: hold % changes by %, its entries moved %', NEW.id, change, moved
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
""".strip()


def _refuse(table: str, name: str, when: str, message: str) -> str:
    return (
        f"CREATE TRIGGER {table}_{name} BEFORE {when} ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse('{message}')"
    )


CREATE: tuple[str, ...] = (
    POSTINGS_VIEW,
    _REFUSE,
    _APPLY_MOVES,
    _CHECK_ENTRIES,
    _CHECK_BALANCE_ROW,
    _CHECK_HOLD,
    _refuse("accounts", "immutable", "UPDATE OR DELETE OR TRUNCATE", "accounts are never changed or deleted"),
    _refuse("entries", "immutable", "UPDATE OR DELETE OR TRUNCATE", "entries are never changed or deleted"),
    _refuse("moves", "immutable", "UPDATE OR DELETE OR TRUNCATE", "moves are never changed or deleted"),
    _refuse("balances", "permanent", "DELETE OR TRUNCATE", "balances are never deleted"),
    _refuse("holds", "permanent", "DELETE OR TRUNCATE", "holds are never deleted"),
    # Only the moves' own trigger runs at depth 1; a statement of anybody else is at depth 0. The condition costs no
    # function call, and the trigger has checked that the change is the sum of the moves it applies.
    """
CREATE TRIGGER balances_guard BEFORE UPDATE ON balances FOR EACH ROW
WHEN (pg_trigger_depth() = 0 OR NEW.last_move_id <= OLD.last_move_id
      OR NEW.account_id <> OLD.account_id OR NEW.slot <> OLD.slot)
EXECUTE FUNCTION ledger_refuse('a balance changes only through a newer move')
""".strip(),
    """
CREATE TRIGGER balances_begin BEFORE INSERT ON balances FOR EACH ROW EXECUTE FUNCTION ledger_check_balance_row()
""".strip(),
    """
CREATE TRIGGER moves_apply AFTER INSERT ON moves REFERENCING NEW TABLE AS inserted
FOR EACH STATEMENT EXECUTE FUNCTION ledger_apply_moves()
""".strip(),
    """
CREATE TRIGGER entries_check AFTER INSERT ON entries REFERENCING NEW TABLE AS inserted
FOR EACH STATEMENT EXECUTE FUNCTION ledger_check_entries()
""".strip(),
    """
CREATE TRIGGER holds_check AFTER INSERT OR UPDATE ON holds FOR EACH ROW EXECUTE FUNCTION ledger_check_hold()
""".strip(),
)

DROP_FIRST: tuple[str, ...] = ("DROP VIEW IF EXISTS postings",)

DROP_LAST: tuple[str, ...] = (
    "DROP FUNCTION IF EXISTS ledger_refuse(), ledger_apply_moves(), ledger_check_entries(),"
    " ledger_check_balance_row(), ledger_check_hold()",
)
