"""The record in words, for people: what Slack and a mail say of an event. No names, no addresses."""

from __future__ import annotations

from hub.money import Money
from schemas.paypal import EventRecorded


def headline(recorded: EventRecorded) -> str:
    """One line: what happened, and what became of it."""
    amount = amount_of(recorded)
    return " · ".join(part for part in (recorded.event_type, amount, recorded.outcome) if part)


def amount_of(recorded: EventRecorded) -> str:
    """The amount as people write it; empty where the event names none."""
    if recorded.amount_minor is None or recorded.currency is None:
        return ""
    return Money(recorded.amount_minor, recorded.currency).format()


def details(recorded: EventRecorded) -> list[tuple[str, str]]:
    """Everything that the record says, each under its name, in the order in which a person looks for it."""
    found = [
        ("event", recorded.event_id),
        ("type", recorded.event_type),
        ("verdict", recorded.verdict),
        ("reason", recorded.reason),
        ("outcome", recorded.outcome),
        ("amount", amount_of(recorded)),
        ("subscription", recorded.subscription_id),
        ("custom id", recorded.custom_id),
        ("payment", recorded.payment_id),
        ("received", recorded.received_at.isoformat(timespec="seconds")),
        ("hub event", str(recorded.webhook_event_id)),
        ("trace", recorded.trace_id),
    ]
    return [(name, value) for name, value in found if value]
