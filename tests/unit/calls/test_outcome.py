"""Outcomes as they are stored: each under a state of its own, and read back as what it was."""

from __future__ import annotations

import json
from collections import UserDict
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.calls.naming import call_name
from hub.calls.outcome import STATE_OF, Declined, NotFound, Outcome, Pending, Settled, Unknown, from_stored, stored_form

words = st.text(alphabet='aé€\x00"', max_size=8)
data = st.dictionaries(words, st.none() | st.integers() | words, max_size=3)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Settled, data=data),
    st.builds(Declined, reason=words, data=data),
    st.builds(Pending, reason=words, data=data),
    st.builds(Unknown, reason=words, data=data),
)


@settings(max_examples=30)
@given(outcomes)
def test_what_is_stored_is_read_back_as_it_was(outcome: Outcome) -> None:
    stored = json.loads(json.dumps(stored_form(outcome)))

    assert from_stored(STATE_OF[type(outcome)], stored) == outcome


def test_what_is_stored_is_json_whatever_mapping_the_provider_s_client_gave() -> None:
    assert json.dumps(stored_form(Settled(UserDict(id="p-1")))) == '{"data": {"id": "p-1"}}'


def test_a_call_is_named_by_its_provider_its_step_and_how_often_it_was_sent() -> None:
    assert call_name(SimpleNamespace(provider="acme", step="charge", number=2)) == "acme.charge#2"


def test_no_two_outcomes_share_a_state() -> None:
    """What is unknown must never be taken for a refusal."""
    assert dict(STATE_OF) == {
        Settled: "settled", Declined: "declined", Pending: "pending", Unknown: "unknown", NotFound: "not_found",
    }  # fmt: skip


@pytest.mark.parametrize("state", ["settled", "pending", "unknown"])
def test_a_row_that_says_nothing_more_is_its_state_alone(state: str) -> None:
    """Rows of older versions, and of calls that have only begun."""
    assert STATE_OF[type(from_stored(state, None))] == state
