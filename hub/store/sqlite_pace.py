"""Where a statement of SQLite runs: on the loop as long as it is quick, in a thread while it is slow.

Known by its text, for all connections of this process. Source: docs/decisions/0011-sqlite-on-the-loop.md.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

SLOW_S: Final = 0.005
"""What takes longer than this is better off in the thread."""
SLOW_RUNS_MAX: Final = 128
"""How many runs of a statement go to the thread after some that were slow. After the first it is but two: the machine
may have had something else to do."""
TRIALS: Final = 3
"""How many quick runs in the thread it takes until one that looks through a table runs without."""
PACES_MAX: Final = 4_096
"""How many statements are known by their pace; the hub has some hundreds."""

_READS: Final = re.compile(
    r"\s*(?:SELECT\b|VALUES\b|PRAGMA (?:\"?main\"?\.)?(?:read_uncommitted|table_|index_|foreign_key_list))",
    re.IGNORECASE,
)
_WITH: Final = re.compile(r"\s*WITH\b", re.IGNORECASE)
_CHANGES: Final = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
_CHANGES_WITHIN: Final = re.compile(r"\b(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
_FRAMES: Final = re.compile(r"\s*(?:BEGIN|SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE)
_LOOKS_THROUGH: Final = re.compile(r"SCAN (?!.*(?:VIRTUAL TABLE|CONSTANT ROW))")


class Pace:
    """Where a statement runs: how many of its next runs go to the thread, and whether it may be stopped."""

    __slots__ = ("_penalty", "in_thread", "is_read")

    def __init__(self, *, is_read: bool, in_thread: float = 0) -> None:
        self.is_read = is_read
        self.in_thread = in_thread
        self._penalty = 1

    def took(self, seconds: float, *, was_in_thread: bool) -> None:
        """Learn from a run. One that is slow again and again goes to the thread for longer and longer."""
        if seconds > SLOW_S:
            self._penalty = min(2 * self._penalty, SLOW_RUNS_MAX)
            self.in_thread = max(self.in_thread, self._penalty)
        elif was_in_thread and self.in_thread:
            self.in_thread -= 1
            if not self.in_thread:
                self._penalty = max(self._penalty // 2, 1)


_paces: dict[str, Pace] = {}


def pace_of(file: sqlite3.Connection, statement: str, values: Sequence[Any], *, may_plan: bool) -> Pace:
    """The pace of this statement, which is learnt from one run to the next.

    Of one that is met for the first time and changes something SQLite is asked for its plan, if it ``may_plan`` now.
    """
    pace = _paces.get(statement)
    if pace is None:
        if len(_paces) >= PACES_MAX:
            _paces.clear()
        pace = _paces[statement] = _first_pace(file, statement, values, may_plan=may_plan)
    return pace


def _first_pace(file: sqlite3.Connection, statement: str, values: Sequence[Any], *, may_plan: bool) -> Pace:
    if _READS.match(statement) or (_WITH.match(statement) and not _CHANGES_WITHIN.search(statement)):
        return Pace(is_read=True)
    if _FRAMES.match(statement):
        return Pace(is_read=False)
    if not _CHANGES.match(statement) and not _WITH.match(statement):
        return Pace(is_read=False, in_thread=math.inf)
    if not may_plan:
        return Pace(is_read=False, in_thread=TRIALS)
    cursor = sqlite3.Connection.cursor(file)
    try:
        plan = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    except sqlite3.Error:
        # It will say itself what is wrong with it.
        return Pace(is_read=False)
    return Pace(is_read=False, in_thread=TRIALS if any(_LOOKS_THROUGH.match(row[3]) for row in plan) else 0)
