"""All that is planted: the defects of other systems, how each is planted here, and which tests should notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from tests.faults import mutants as early
from tests.mutants import accepting, booking, calling, delivering, sending

LOCAL: Final = "tests/contract/transports/test_local.py::TestLocalTransport::test_{}[sqlite]"


def _in(folder: str) -> Callable[[str], str]:
    """The tests of one folder, on SQLite: it is the same code on both, and there they cost less."""
    return lambda test: f"tests/integration/{folder}/{test}[sqlite]"


D, I, O, L = _in("deliver"), _in("inbox"), _in("outbox"), _in("ledger")  # noqa: E741 - they stand in most lines below


@dataclass(frozen=True, slots=True)
class Mutant:
    """One defect. ``cheap`` tests run whenever all tests do, ``dear`` ones with the long faults.

    ``name`` is its number in the list of failures that other systems have shipped, with a letter where it is planted
    in two ways.
    """

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[None]]
    cheap: Sequence[str] = ()
    dear: Sequence[str] = ()
    hang_s: float = 0.0
    """A test that is not over by then has noticed it, where the mutant makes it wait; 0 for as long as any other."""


def grid(scenario: str) -> str:
    """The crash grid of one scenario, at every boundary until something is noticed."""
    return f"tests/mutants/hunting.py::test_the_hub_dies_at_any_boundary[{scenario}]"


MUTANTS: Final[Sequence[Mutant]] = (
    Mutant(
        "1",
        "the mark commits, the effect fails, the repeat is skipped",
        early.delivery_is_marked_done_before_its_effects,
        cheap=(D("test_emits.py::test_after_a_crash_before_the_commit_nothing_is_there_twice"),),
        dear=(grid("top-up"),),
    ),
    Mutant(
        "1b",
        "the identity commits before its event",
        accepting.the_identity_commits_before_the_event,
        cheap=(I("test_acceptance.py::test_what_could_not_be_stored_leaves_no_identity_behind"),),
        dear=(grid("top-up"),),
    ),
    Mutant(
        "2",
        "answered before it is stored",
        early.webhook_is_answered_before_the_commit,
        cheap=(
            I("test_acceptance.py::test_when_the_database_is_away_the_whole_group_is_refused_and_the_next_one_works"),
        ),
        dear=(grid("top-up"),),
    ),
    Mutant(
        "2b",
        "acknowledged before it is stored",
        early.queue_is_acknowledged_before_the_commit,
        cheap=(
            LOCAL.format("a_batch_whose_handler_raised_comes_again"),
            grid("forward"),
        ),
    ),
    Mutant(
        "3",
        "an error of a handler discards its message",
        delivering.an_error_discards_the_message,
        cheap=(
            "tests/unit/deliver/test_endings.py::test_the_class_of_an_error_says_what_to_do",
            D("test_chains.py::test_a_head_that_fails_twice_is_never_overtaken"),
        ),
    ),
    Mutant(
        "4",
        "a cancelled handler counts as done",
        delivering.a_cancelled_handler_has_done_its_work,
        cheap=(
            "tests/unit/deliver/test_drive.py::test_when_the_process_stops_the_handler_hears_it_as_a_cancellation",
            D("test_stopping.py::test_a_call_that_outlasts_the_deadline_is_asked_about_at_the_next_start"),
        ),
    ),
    Mutant(
        "5",
        "a time-out counts as a refusal",
        calling.silence_is_a_refusal,
        cheap=(
            D("test_call_laws.py::test_it_is_done_once_under_one_key_and_nobody_believes_otherwise"),
            D("test_calls.py::test_silence_is_unknown_after_its_time"),
        ),
    ),
    Mutant(
        "6",
        "a retry has a new idempotency key",
        calling.each_try_has_a_key_of_its_own,
        cheap=(
            D("test_call_laws.py::test_it_is_done_once_under_one_key_and_nobody_believes_otherwise"),
            D("test_calls.py::test_what_the_provider_never_had_is_sent_again_as_the_next_number_under_the_same_key"),
        ),
    ),
    Mutant(
        "7",
        "a call is on record only once it is answered",
        calling.a_call_is_recorded_when_it_has_been_answered,
        cheap=(
            D("test_call_laws.py::test_whoever_dies_between_a_call_and_its_answer_leaves_a_successor_who_asks"),
            D("test_calls.py::test_a_call_is_committed_before_the_provider_hears_of_it"),
        ),
        dear=("tests/mutants/hunting.py::test_the_hub_dies_around_the_record_of_a_call[invoice]",),
    ),
    Mutant(
        "8",
        "two at once both miss the row and both run",
        accepting.nobody_sees_who_holds_an_identity,
        cheap=(
            I("test_identity_laws.py::test_an_id_is_one_event_for_ever_and_what_contradicts_it_is_kept"),
            I("test_identity.py::test_many_deliveries_of_one_id_at_once_are_one_event"),
        ),
        dear=(grid("top-up"),),
    ),
    Mutant(
        "9",
        "a range of the outbox is marked",
        sending.a_range_of_messages_is_marked,
        cheap=(
            O("test_relay.py::test_only_what_was_confirmed_is_marked_never_what_lies_between"),
            O("test_relay_order.py::test_a_consumer_sees_a_prefix_then_perhaps_repeats"),
        ),
    ),
    Mutant(
        "10",
        "a message is not sent after a crash",
        early.relay_marks_sent_before_publishing,
        cheap=(
            O("test_relay.py::test_a_crash_between_publishing_and_marking_sends_the_same_ids_again"),
            O("test_relay_order.py::test_a_consumer_sees_a_prefix_then_perhaps_repeats"),
        ),
        dear=(grid("top-up"),),
    ),
    Mutant(
        "11",
        "what is retried comes after what waited for it",
        delivering.what_is_retried_goes_to_the_back,
        cheap=(
            "tests/integration/operate/test_with_a_worker.py::test_a_corrected_head_runs_first_and_then_all_that_waited[sqlite]",
            O("test_parked.py::test_a_retried_message_goes_first_and_its_chain_follows"),
            "tests/integration/operate/test_retry_laws.py::test_what_is_retried_keeps_its_place[sqlite]",
        ),
    ),
    Mutant(
        "12",
        "a later event overtakes one that failed",
        delivering.a_failed_delivery_leaves_its_chain,
        cheap=(
            D("test_chains.py::test_a_head_that_fails_twice_is_never_overtaken"),
            D("test_order_laws.py::test_each_keys_deliveries_succeed_in_order_of_acceptance"),
        ),
    ),
    Mutant(
        "13",
        "a consumer is gone, and nobody is told",
        sending.a_consumer_that_stumbles_is_gone,
        cheap=("tests/unit/transports/test_rabbit_consumer.py::test_whatever_ends_a_session_the_next_one_follows[1]",),
        dear=(LOCAL.format("a_batch_whose_handler_raised_comes_again"),),
        hang_s=20,
    ),
    Mutant(
        "14",
        "a publish waits for ever",
        sending.a_publish_waits_for_ever,
        cheap=("tests/unit/transports/test_rabbit_publisher.py::test_a_publish_to_a_broker_that_is_away_ends",),
        dear=(O("test_relay.py::test_a_broker_that_does_not_answer_counts_as_away"),),
        hang_s=20,
    ),
    Mutant(
        "15",
        "what no queue takes counts as published",
        sending.what_nobody_takes_counts_as_published,
        cheap=(
            "tests/unit/transports/test_rabbit_publisher.py::test_a_message_that_comes_back_is_not_one_that_was_taken",
            LOCAL.format("a_message_that_no_queue_takes_is_told_apart"),
            O("test_relay.py::test_a_message_that_nobody_takes_parks_its_chain_alone"),
        ),
    ),
    Mutant(
        "16",
        "a signature is checked on JSON written anew",
        accepting.a_signature_is_checked_on_json_written_anew,
        cheap=("tests/unit/paypal/test_paypal_verifying.py::test_a_published_case_has_its_verdict",),
        dear=(grid("invoice"),),
    ),
    Mutant(
        "17",
        "a forged copy takes the id",
        accepting.an_unproven_message_takes_the_id_that_it_names,
        cheap=(
            "tests/unit/event/test_unproven_identity.py::test_two_bodies_never_share_an_identity_and_one_has_always_the_same",
            "tests/integration/deliver/test_refusals.py"
            "::test_a_forged_message_is_refused_and_takes_nothing_from_the_genuine_one[sqlite-spec]",
        ),
    ),
    Mutant(
        "18",
        "a hold asks nobody",
        booking.a_hold_asks_nobody,
        cheap=(
            L("test_ledger_laws.py::test_the_books_do_what_the_model_does"),
            L("test_ledger_holds.py::test_a_whole_capture_closes_the_hold"),
            L("test_ledger_holds.py::test_held_money_is_not_available"),
        ),
    ),
    Mutant(
        "19",
        "a move commits without its balance",
        booking.a_move_commits_without_its_balance,
        cheap=(L("test_ledger_laws.py::test_the_books_do_what_the_model_does"),),
        dear=(grid("top-up"),),
    ),
    Mutant(
        "20",
        "older news overwrite newer ones",
        calling.older_news_overwrite_newer_ones,
        cheap=(
            "tests/unit/paypay/test_paypay_exchange_rules.py::test_only_paypays_word_ends_a_request_and_what_has_ended_stays",
            "tests/scenarios/test_paypal_payments.py::test_late_news_change_nothing_and_every_cent_of_a_held_payment_is_accounted_for[sqlite]",
        ),
    ),
    Mutant(
        "21",
        "what was unknown triggers nothing",
        calling.what_was_unknown_changes_its_state_and_nothing_else,
        cheap=("tests/scenarios/test_paypay_exchange.py::test_paypays_refusals_release_the_points[sqlite]",),
        dear=(grid("exchange"),),
    ),
    Mutant(
        "22",
        "attempts begin anew with a restart",
        delivering.attempts_begin_anew_with_a_worker,
        cheap=(
            "tests/integration/deliver/test_ownership.py::test_a_message_that_kills_the_process_is_parked_in_the_end"
            "_and_its_neighbours_are_delivered[sqlite-first of its chain]",
        ),
        dear=("tests/faults/test_poison.py",),
    ),
    Mutant(
        "23",
        "identities are forgotten after a while",
        accepting.identities_are_forgotten_after_a_while,
        cheap=(
            I("test_identity_laws.py::test_a_repeat_that_comes_to_another_process_a_year_later_is_a_duplicate"),
            I("test_identity_laws.py::test_an_id_is_one_event_for_ever_and_what_contradicts_it_is_kept"),
        ),
    ),
    Mutant(
        "24",
        "another body is a harmless duplicate",
        accepting.another_body_is_a_harmless_duplicate,
        cheap=(
            I("test_identity_laws.py::test_an_id_is_one_event_for_ever_and_what_contradicts_it_is_kept"),
            I("test_identity.py::test_the_same_id_with_other_content_is_a_conflict_kept_whole"),
        ),
    ),
    Mutant(
        "25",
        "two workers take one row",
        delivering.two_workers_take_one_row,
        cheap=(
            D(
                "test_ownership.py::test_a_paused_worker_that_comes_back_in_the_middle_of_a_batch_delivers_nothing_twice"
            ),
        ),
        dear=(
            "tests/faults/test_stopped_process.py::test_what_a_process_that_is_stopped_inside_a_transaction_did_there_is_refused",
        ),
    ),
)
NUMBERS: Final = 25


def by_name(name: str) -> Mutant:
    """The mutant of this name."""
    return next(one for one in MUTANTS if one.name == name)
