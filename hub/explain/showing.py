"""An explanation as JSON values. The names are an interface: docs/explain.md lists them. Amounts are in minor units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from hub.explain.model import (
    Emission,
    Rehearsal,
    ShownCall,
    ShownMessage,
    ShownTimer,
    UnreadableProblem,
)
from hub.ledger import PostedEntry
from hub.operate.event_view import DeliveryDetails, EventDetails
from hub.routing import RuleVerdict

if TYPE_CHECKING:
    from hub.explain.explanation import Explanation

Json: TypeAlias = dict[str, Any]


def explanation_dict(explanation: Explanation, *, raw: bool) -> Json:
    """Everything, with what is hidden hidden; ``raw`` shows what the source masks."""
    shown = _Shown(explanation, raw=raw).whole()
    return shown if raw else explanation.curtain.over(shown)


class _Shown:
    def __init__(self, explanation: Explanation, *, raw: bool) -> None:
        self._of = explanation
        self._curtain = explanation.curtain
        self._raw = raw

    def whole(self) -> Json:
        of = self._of
        return {
            "ok": of.ok,
            "event": self._event(),
            "verification": {"verdict": of.verification.verdict, "how": of.verification.how},
            "identity": {
                "status": of.identity.status,
                "dedupe_id": of.identity.dedupe_id,
                "taken_from": of.identity.taken_from,
                "event_id": str(of.identity.event_id) if of.identity.event_id is not None else None,
            },
            "problem": _problem(of.problem),
            "rules": [_rule(one) for one in of.rules],
            "rehearsals": [self._rehearsal(one) for one in of.rehearsals],
            "recorded": _recorded(of.recorded) if of.recorded is not None else None,
        }

    def _event(self) -> Json:
        event = self._of.event
        return {
            "id": str(event.id),
            "source": event.source,
            "type": event.type,
            "key": event.key,
            "after": list(event.after),
            "dedupe_id": event.dedupe_id,
            "routing_key": event.routing_key,
            "message_id": event.message_id,
            "occurred_at": _time(event.occurred_at),
            "received_at": _time(event.received_at),
            "content_type": event.content_type,
            "payload_bytes": self._of.payload_bytes,
            "payload_sha256": self._of.sha256,
            "headers": self._curtain.headers(event.headers, raw=self._raw),
            "trace_id": event.trace_id,
        }

    def _rehearsal(self, one: Rehearsal) -> Json:
        consequence = one.consequence
        return {
            "route": one.route,
            "handler": one.handler,
            "kind": one.kind,
            "provider": one.provider,
            "recorded_state": one.recorded,
            "ending": one.play,
            "outcome": one.outcome,
            "review": one.review,
            "error": {"class": one.error.name, "text": one.error.text} if one.error is not None else None,
            "then": {"state": consequence.state, "text": consequence.text, "wait_s": consequence.wait_s}
            if consequence is not None
            else None,
            "entries": [_entry(entry) for entry in one.entries],
            "messages": [self._message(message) for message in one.messages],
            "emitted": [self._emission(emission) for emission in one.emitted],
            "timers": [self._timer(timer) for timer in one.timers],
            "tags": _tags(one.tags),
            "calls": [_call(call) for call in one.calls],
            "notes": list(one.notes),
        }

    def _emission(self, emission: Emission) -> Json:
        event = emission.event
        return {
            "event_id": str(emission.event_id),
            "type": event.type,
            "key": event.key,
            "status": emission.status,
            "note": emission.note,
            "payload": self._curtain.payload(event.payload, raw=self._raw),
            "rehearsals": [self._rehearsal(one) for one in emission.rehearsals],
        }

    def _message(self, message: ShownMessage) -> Json:
        return {
            "destination": message.destination,
            "routing_key": message.routing_key,
            "key": message.key,
            "message_id": message.message_id,
            "content_type": message.content_type,
            "headers": self._curtain.headers(message.headers, raw=self._raw),
            "payload_bytes": len(message.payload),
            "payload": self._curtain.payload(message.payload, raw=self._raw),
        }

    def _timer(self, timer: ShownTimer) -> Json:
        return {
            "due_at": _time(timer.due_at),
            "type": timer.type,
            "key": timer.key,
            "payload": self._curtain.payload(timer.payload, raw=self._raw),
        }


def _recorded(details: EventDetails) -> Json:
    entries: dict[int, list[Json]] = {}
    for entry in details.postings:
        entries.setdefault(entry.delivery_id or 0, []).append(_entry(entry))
    return {
        "state": details.state,
        "duplicates": [_time(at) for at in details.duplicates],
        "conflicts": [
            {"id": str(one.id), "received_at": _time(one.received_at), "state": one.state} for one in details.conflicts
        ],
        "corrections": len(details.corrections),
        "deliveries": [_delivery(one, entries.get(one.id, [])) for one in details.deliveries],
        "messages": [
            {
                "destination": one.destination,
                "routing_key": one.routing_key,
                "message_id": one.message_id,
                "payload_bytes": one.payload_bytes,
                "payload_sha256": one.sha256,
                "state": one.state,
                "sent_at": _time(one.sent_at),
            }
            for one in details.messages
        ],
        "tags": _tags(details.tags),
        "trace": [
            {"event_id": str(one.id), "source": one.source, "type": one.type, "hops": one.hops} for one in details.trace
        ],
        "timers": [{"type": one.type, "key": one.key, "due_at": _time(one.due_at)} for one in details.timers],
    }


def _delivery(one: DeliveryDetails, entries: Sequence[Json]) -> Json:
    return {
        "id": one.id,
        "route": one.route,
        "state": one.state,
        "outcome": one.outcome,
        "reason": one.reason,
        "attempts": one.attempts,
        "next_at": _time(one.next_at),
        "finished_at": _time(one.finished_at),
        "waits_behind": str(one.waits_behind) if one.waits_behind is not None else None,
        "review": one.review.reason if one.review is not None else None,
        "failures": [
            {"started_at": _time(failed.started_at), "duration_ms": failed.duration_ms, "error": failed.error}
            for failed in one.failed
        ],
        "entries": list(entries),
        "calls": [
            {"step": call.step, "number": call.number, "provider": call.provider, "key": call.key, "state": call.state}
            for call in one.calls
        ],
    }


def _problem(problem: UnreadableProblem | None) -> Json | None:
    if problem is None:
        return None
    return {"text": problem.text, "line": problem.line, "column": problem.column, "field": problem.field}


def _rule(rule: RuleVerdict) -> Json:
    return {"route": rule.route, "matched": rule.matched, "clause": rule.clause, "detail": rule.detail}


def _entry(entry: PostedEntry) -> Json:
    return {
        "reference": entry.reference,
        "kind": entry.kind,
        "note": entry.note,
        "postings": [
            {
                "account": posting.account,
                "side": posting.side,
                "currency": posting.delta.currency,
                "delta_minor": posting.delta.amount_minor,
                "before_minor": posting.before.amount_minor if posting.before is not None else None,
                "after_minor": posting.after.amount_minor if posting.after is not None else None,
            }
            for posting in entry.postings
        ],
    }


def _call(call: ShownCall) -> Json:
    return {
        "step": call.step,
        "number": call.number,
        "provider": call.provider,
        "key": call.key,
        "what": call.what,
        "request": call.request,
    }


def _tags(tags: Iterable[tuple[str, str]]) -> list[Json]:
    return [{"name": name, "value": value} for name, value in tags]


def _time(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at is not None else None
