"""Says why a condition was not true: which part failed, and the values that it looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hub.errors import UnreadableError
from hub.event import Event
from hub.routing.conditions import Condition, ConditionError, Facts
from hub.routing.extract import CompiledPath, Message

VALUE_CHARS_MAX: Final = 80
PARTS_MAX: Final = 50
MASKED: Final = "***"

_TEXTS: Final = re.compile(r'[rR]?"(?:[^"\\\n]|\\.)*"|[rR]?\'(?:[^\'\\\n]|\\.)*\'')
_STEP: Final = r"(?:\.[A-Za-z_]\w*(?!\w*\s*\()|\[\d+\]|\[(?:\"[^\"]*\"|'[^']*')\])"
_REFERENCE: Final = re.compile(rf"(?<![\w.])(data|headers|event|message){_STEP}+")
_MISSING: Final = object()


def conjuncts(text: str) -> list[str]:
    """The parts of a condition that are joined by ``&&`` at the top; one part when it is joined otherwise."""
    depth, start, parts = 0, 0, []
    # Texts are blanked out first, so that what stands in quotes is not taken for an operator.
    plain = _TEXTS.sub(lambda found: " " * len(found[0]), text)
    for at, letter in enumerate(plain):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and (plain.startswith("||", at) or letter == "?"):
            return [_one_line(text)]
        if depth == 0 and plain.startswith("&&", at):
            parts.append(_one_line(text[start:at]))
            start = at + 2
    return [*parts, _one_line(text[start:])]


def describe_when(text: str, event: Event, facts: Facts, mask: Sequence[str] = ()) -> str:
    """Which parts of the condition are not true of this event, with the values of the fields they name.

    Fields under a path of ``mask`` show as asterisks.
    """
    failed = list(_failed_parts(text, facts))
    return "; ".join(f"{part} {outcome}{_values(part, event, mask)}" for part, outcome in failed[:PARTS_MAX])


def _failed_parts(text: str, facts: Facts) -> Iterator[tuple[str, str]]:
    for part in conjuncts(text):
        try:
            if not Condition.compile(part).holds(facts):
                yield part, "is false"
        except ConditionError as error:
            yield part, f"cannot be evaluated, {error}"


def _values(part: str, event: Event, mask: Sequence[str]) -> str:
    found = [f"{path} = {_shown(path, event, mask)}" for path in references(part)]
    return f" ({', '.join(found)})" if found else ""


def references(text: str) -> list[str]:
    """The fields that a condition names, as paths such as ``data.items.0.id``, each once."""
    found = []
    quoted = [match.span() for match in _TEXTS.finditer(text)]
    for match in _REFERENCE.finditer(text):
        if not any(start <= match.start() < end for start, end in quoted):
            path = re.sub(r"\[(?:\"([^\"]*)\"|'([^']*)'|(\d+))\]", r".\1\2\3", match[0])
            found.append(path)
    return list(dict.fromkeys(found))


def _one_line(text: str) -> str:
    # Line breaks may not stand inside quotes in CEL, so joining the lines changes nothing.
    return " ".join(line.strip() for line in text.strip().splitlines())


def _shown(path: str, event: Event, mask: Sequence[str]) -> str:
    if any(path == hidden or path.startswith(f"{hidden}.") or hidden.startswith(f"{path}.") for hidden in mask):
        return MASKED
    value = _value(path, event)
    if value is _MISSING:
        return "missing"
    text = _as_written(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


def _value(path: str, event: Event) -> Any:
    root, _, rest = path.partition(".")
    if root == "event":
        return {"type": event.type, "source": event.source, "key": event.key or "", "id": str(event.id)}.get(rest)
    try:
        data = event.data if root == "data" else None
    except UnreadableError:
        return _MISSING
    message = {"message_id": event.message_id, "routing_key": event.routing_key}
    message["timestamp"] = event.occurred_at.isoformat()
    headers = {name.lower(): value for name, value in event.headers.items()}
    compiled, facts = CompiledPath(path), Message(data, headers, message)
    return compiled.value(facts) if compiled.exists(facts) else _MISSING


def _as_written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value) if isinstance(value, str) else "null" if value is None else str(value)
