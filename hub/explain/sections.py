"""An explanation for people: titled tables, for the command line to print, or plain lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hub.calls.naming import name_of_call
from hub.explain.explanation import Explanation
from hub.money import Money

PAYLOAD_CHARS_MAX: Final = 300
WHY_CHARS_MAX: Final = 160
"""What is longer is cut in tables; the form for programs has all of it."""
STRANGERS_MAX: Final = 5
"""More routes than this that take other types are counted instead of listed: the rest is what a person looks for."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table: its title, the names of its columns, its rows. ``empty`` is said where there are no rows.

    ``is_rehearsal``: it says what would happen, and not what is on record or why.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = "none"
    is_rehearsal: bool = False


def sections(explanation: Explanation, *, raw: bool = False) -> list[Section]:
    """The explanation in the order in which a person asks: what is it, who takes it, what happened, what would."""
    shown = explanation.to_dict(raw=raw)
    found = [_event(shown), _rules(shown)]
    if shown["recorded"] is not None:
        found += _recorded(shown["recorded"])
    if not shown["rehearsals"]:
        return [*found, Section("Rehearsal", ("",), (), _why_no_rehearsal(shown), is_rehearsal=True)]
    for one in shown["rehearsals"]:
        found += _rehearsal(one, f"Rehearsal of {one['route']} (nothing is stored, nothing is sent)")
    return found


def lines(explanation: Explanation, *, raw: bool = False) -> list[str]:
    """The same as plain text."""
    text: list[str] = []
    for section in sections(explanation, raw=raw):
        text.append(section.title if section.rows else f"{section.title}: {section.empty}")
        text += ["  " + "  ".join(cell for cell in row if cell) for row in section.rows]
    return text


def _event(shown: dict[str, Any]) -> Section:
    event, identity = shown["event"], shown["identity"]
    problem = shown["problem"]["text"] if shown["problem"] is not None else ""
    known = f" as event {identity['event_id']}" if identity["status"] in ("duplicate", "conflict") else ""
    rows = [
        ("id", event["id"]),
        ("source", event["source"]),
        ("type", event["type"]),
        ("key", event["key"] or "none: the event is its own"),
        ("after", ", ".join(event["after"])),
        ("occurred", event["occurred_at"]),
        ("received", event["received_at"]),
        ("payload", f"{event['payload_bytes']} bytes, {event['content_type']}, sha256 {event['payload_sha256']}"),
        ("verification", _verification(shown["verification"])),
        ("dedupe id", _dedupe_id(identity)),
        ("identity", f"{identity['status']}{known}"),
        ("unreadable", problem),
    ]
    return Section("Event", ("", ""), [row for row in rows if row[1]])


def _dedupe_id(identity: dict[str, Any]) -> str:
    if identity["dedupe_id"] is None:
        return f"none: {identity['taken_from'].removeprefix('nothing: ')}"
    return f"{identity['dedupe_id']}, from {identity['taken_from']}"


def _verification(verification: dict[str, Any]) -> str:
    verdict, how = verification["verdict"], str(verification["how"])
    return how if not verdict or how.startswith(verdict) else f"{verdict}: {how}"


def _rules(shown: dict[str, Any]) -> Section:
    rules = sorted(shown["rules"], key=lambda rule: not rule["matched"])
    strangers = [rule for rule in rules if not rule["matched"] and rule["clause"] == "match"]
    if len(strangers) <= STRANGERS_MAX:
        strangers = []
    rows = [
        (
            "takes it" if rule["matched"] else "no",
            rule["route"],
            rule["clause"] or "",
            _cut(rule["detail"], WHY_CHARS_MAX),
        )
        for rule in rules
        if rule not in strangers
    ]
    if strangers:
        rows.append(("no", f"{len(strangers)} other routes", "match", "they take other types (--json names each)"))
    empty = "not asked: the event cannot be read" if shown["problem"] else "there are none"
    return Section("Rules", ("", "route", "clause", "why"), rows, empty)


def _recorded(recorded: dict[str, Any]) -> Iterator[Section]:
    for one in recorded["deliveries"]:
        rows = [
            ("state", f"{one['state']}{_after(one['outcome'], ', ')}"),
            ("attempts", str(one["attempts"])),
            ("reason", one["reason"] or ""),
            ("next attempt", one["next_at"] or ""),
            ("waits behind", one["waits_behind"] or ""),
            ("review", one["review"] or ""),
            *(("failed", f"{failed['started_at']} {failed['error']}") for failed in one["failures"]),
            *(("call", f"{_name(call)} key {call['key']}: {call['state']}") for call in one["calls"]),
            *_entry_rows(one["entries"]),
        ]
        yield Section(f"Delivery by {one['route']}", ("", ""), [row for row in rows if row[1]])
    rows = [
        ("state", recorded["state"]),
        *(("duplicate", at) for at in recorded["duplicates"]),
        *(("conflict", f"{one['received_at']} {one['state']}") for one in recorded["conflicts"]),
        ("corrections", str(recorded["corrections"] or "")),
        *(("message", f"{_address(one)} {one['state']}") for one in recorded["messages"]),
        *((f"tag {tag['name']}", tag["value"]) for tag in recorded["tags"]),
        *(("same trace", f"{one['type']} {one['event_id']}") for one in recorded["trace"]),
        *(("timer", f"{one['due_at']} {one['type']}") for one in recorded["timers"]),
    ]
    yield Section("On record", ("", ""), [row for row in rows if row[1]])


def _rehearsal(one: dict[str, Any], title: str) -> Iterator[Section]:
    handler = one["handler"] or "forward as it is"
    by = f"{handler} ({one['kind']}{_after(one['provider'], ' ')})"
    error = f"{one['error']['class']}: {one['error']['text']}" if one["error"] is not None else ""
    rows = [
        ("handler", by),
        ("ending", f"{one['ending']}{_after(one['outcome'], ', ')}"),
        ("review", one["review"] or ""),
        ("error", error),
        ("then", one["then"]["text"] if one["then"] is not None else ""),
        *_call_rows(one["calls"]),
        *_entry_rows(one["entries"]),
        *_message_rows(one["messages"]),
        *(("timer", f"{timer['due_at']} {timer['type']} {_cut(timer['payload'])}") for timer in one["timers"]),
        *((f"tag {tag['name']}", tag["value"]) for tag in one["tags"]),
        *(("emits", f"{e['type']}{_after(e['note'], ', ')} {_cut(e['payload'])}") for e in one["emitted"]),
        *(("note", note) for note in one["notes"]),
    ]
    yield Section(title, ("", ""), [row for row in rows if row[1]], is_rehearsal=True)
    for emission in one["emitted"]:
        for following in emission["rehearsals"]:
            yield from _rehearsal(following, f"└ then {emission['type']} by {following['route']}")


def _why_no_rehearsal(shown: dict[str, Any]) -> str:
    if shown["problem"]:
        return "none: the event cannot be read, it would be parked"
    match shown["identity"]["status"]:
        case "duplicate":
            return f"none: a repeat of event {shown['identity']['event_id']} changes nothing"
        case "conflict":
            return "none: the same identity with other content waits for a person"
    return "none: no route takes the event"


def _call_rows(calls: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for call in calls:
        yield "call", f"{_name(call)} key {call['key']}: {call['what']}; request {_cut(str(call['request']))}"


def _name(call: dict[str, Any]) -> str:
    return name_of_call(call["provider"], call["step"], call["number"])


def _entry_rows(entries: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        yield "entry", f"{entry['reference']} ({entry['kind']})"
        for posting in entry["postings"]:
            yield "posting", f"{posting['account']} {_change(posting)}"


def _change(posting: dict[str, Any]) -> str:
    currency = posting["currency"]
    delta = Money(posting["delta_minor"], currency).format()
    sign = "+" if posting["delta_minor"] > 0 else ""
    if posting["after_minor"] is None:
        return f"{sign}{delta}"
    before, after = (Money(posting[name], currency).format() for name in ("before_minor", "after_minor"))
    return f"{sign}{delta}: {before} → {after}"


def _message_rows(messages: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for message in messages:
        yield "message", f"{_address(message)} {_cut(message['payload'])}"


def _address(message: dict[str, Any]) -> str:
    return f"{message['destination']} {message['routing_key']} {message['message_id']}"


def _after(value: str | None, separator: str) -> str:
    return f"{separator}{value}" if value else ""


def _cut(text: str, chars_max: int = PAYLOAD_CHARS_MAX) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars_max else f"{line[: chars_max - 1]}…"
