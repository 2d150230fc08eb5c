"""Reading a profile: shares by the function that ran, and by whose code it is."""

from __future__ import annotations

import pytest

from benchmarks.profile import read_profile

STACKS = """\
run (hub/cli/run.py:190);_loop (hub/deliver/worker.py:99);pick (hub/deliver/picker.py:60) 30
run (hub/cli/run.py:190);_run_once (asyncio/base_events.py:1889);EpollSelector.select (selectors.py:468) 900
run (asyncio/runners.py:190);execute (/opt/venv/lib/python3.11/site-packages/sqlalchemy/engine/base.py:1415) 50
run (asyncio/runners.py:190);_run_once (asyncio/base_events.py:1922) 15
_loop (hub/deliver/worker.py:99);pick (hub/deliver/picker.py:71) 5
"""


def test_shares_are_by_the_innermost_function_that_does_not_wait() -> None:
    profile = read_profile(STACKS.splitlines())

    assert profile.samples == 100
    assert profile.functions == {
        "execute (engine/base.py)": 0.5,
        "pick (deliver/picker.py)": 0.35,
        "_run_once (asyncio/base_events.py)": 0.15,
    }
    assert profile.under_way == {"pick (deliver/picker.py)": 0.35, "_loop (deliver/worker.py)": 0.35}
    assert profile.packages == {"sqlalchemy": 0.5, "hub/deliver": 0.35, "asyncio": 0.15}


def test_an_empty_profile_is_an_error_and_not_a_table_of_nothing() -> None:
    with pytest.raises(RuntimeError, match="empty"):
        read_profile([])
