"""Conditions of routes, written in CEL. The only module that knows which package evaluates them.

Names: ``data`` (the body), ``headers`` (names in lower case), ``event.type|source|key|id`` and
``message.message_id|routing_key|timestamp`` (the time at which it happened); an absent key or message field is the
empty text. An integer is an int,
a number with a fraction a double, an integer that needs more than 64 bits a text. A field that is missing is an error
unless the condition asks with ``has()``.

The package does not raise when an evaluation fails: it returns an error as a value, whose text would count as true.
A condition holds only when the result is a boolean and true.

Source: cel-expr-python, Google's C++ CEL; docs/dependencies.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final

from hub.errors import PermanentError, UnreadableError
from hub.event import Event
from hub.routing.fields import MESSAGE_FIELDS, nearest

EVENT_FIELDS: Final = ("type", "source", "key", "id")
ROOTS: Final = ("data", "headers", "event", "message")
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1

_MISTAKE: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNKNOWN_NAME: Final = re.compile(r"undeclared reference to '([^']*)'")


@dataclass(frozen=True, slots=True)
class _Package:
    """What is used of the package: its types, and what evaluates with our names and without any."""

    types: Any
    env: Any
    constant_env: Any


@cache
def _package() -> _Package:
    """Loaded with the first condition: rules without one spare the memory that it takes."""
    from cel_expr_python import cel  # noqa: PLC0415 - see above

    variables = {
        "data": cel.Type.DYN,
        "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        # Declared one by one rather than as maps: a field that does not exist is then found when the file is read.
        **{f"event.{name}": cel.Type.STRING for name in EVENT_FIELDS},
        **{f"message.{name}": cel.Type.STRING for name in MESSAGE_FIELDS},
    }
    return _Package(cel.Type, cel.NewEnv(variables=variables), cel.NewEnv(variables={}))


class ConditionError(PermanentError):
    """A condition cannot be compiled or evaluated. ``line`` and ``column`` start at 1, within the condition's text."""

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line, self.column = line, column


class Facts:
    """What a condition can ask about one event. Converted once, shared by every condition of that event."""

    __slots__ = ("_activation", "_event")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._activation: Any = None

    @property
    def activation(self) -> Any:
        """The package's own form of these facts, made when the first condition asks."""
        if self._activation is None:
            self._activation = _package().env.Activation(_values_of(self._event))
        return self._activation


def _values_of(event: Event) -> dict[str, Any]:
    values: dict[str, Any] = {
        "headers": {name.lower(): value for name, value in event.headers.items()},
        "event.type": event.type,
        "event.source": event.source,
        "event.key": event.key or "",
        "event.id": str(event.id),
        "message.message_id": event.message_id,
        "message.routing_key": event.routing_key,
        "message.timestamp": event.occurred_at.isoformat(),
    }
    # Without data, conditions that ask about it fail; those that ask only about headers still hold.
    with suppress(UnreadableError):
        values["data"] = _converted(event.data)
    return values


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled condition. Holds no state: it may be used from any task or thread."""

    text: str
    _expression: Any

    @classmethod
    def compile(cls, text: str) -> Condition:
        """Check the text and its types. Raises ConditionError with the place of the first mistake."""
        package = _package()
        try:
            expression = package.env.compile(text)
        except Exception as error:  # the package raises bare RuntimeError
            raise _compile_error(str(error)) from None
        kind = expression.return_type()
        if kind not in (package.types.BOOL, package.types.DYN):
            raise ConditionError(f"expected a condition that is true or false, found one of type {kind.name().lower()}")
        return cls(text, expression)

    def holds(self, facts: Facts) -> bool:
        """Whether it is true. Raises ConditionError when that cannot be said."""
        return _truth(self._expression, facts.activation)

    @property
    def constant(self) -> bool | None:
        """The value of a condition that asks about nothing; None for the usual kind."""
        env = _package().constant_env
        try:
            return _truth(env.compile(self.text), env.Activation({}))
        except Exception:  # it does ask about something, or fails on every event
            return None


def _truth(expression: Any, activation: Any) -> bool:
    types = _package().types
    try:
        result = expression.eval(activation)
        kind = result.type()
        value = result.value()
    except Exception as error:  # the package raises bare RuntimeError, for instance over its budget of steps
        raise ConditionError(_reason(str(error))) from None
    if kind == types.BOOL and isinstance(value, bool):
        return value
    if kind == types.ERROR:
        raise ConditionError(_reason(str(value)))
    raise ConditionError(f"expected true or false, the condition gave a value of type {kind.name().lower()}")


def _converted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _converted(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_converted(item) for item in value]
    if isinstance(value, Decimal):
        return float(value)  # rules choose ways; no rule decides an amount
    if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        return str(value)
    return value


def _compile_error(text: str) -> ConditionError:
    found = _MISTAKE.search(text)
    if found is None:
        return ConditionError(f"expected a condition in CEL: {_reason(text)}")
    line, column = int(found[1]), int(found[2])
    message = found[3].replace(" (in container '')", "").removesuffix(" [INVALID_ARGUMENT]").split(" expecting {")[0]
    unknown = _UNKNOWN_NAME.search(message)
    if unknown is not None:
        message = _unknown_name(unknown[1])
        # The package points at the last dot of a name; people look for where it begins.
        column = max(column - unknown[1].rfind("."), 1) if "." in unknown[1] else column
    elif message.startswith("Syntax error: "):
        message = f"expected a condition in CEL, {message.removeprefix('Syntax error: ')}"
    return ConditionError(message, line=line if line > 0 else None, column=column if column > 0 else None)


def _unknown_name(name: str) -> str:
    root, _, rest = name.partition(".")
    fields: Mapping[str, tuple[str, ...]] = {"event": EVENT_FIELDS, "message": MESSAGE_FIELDS}
    if root in fields and rest:
        return f"unknown field {rest!r} of {root}; {nearest(rest, fields[root])}"
    return f"unknown name {root!r}; {nearest(root, ROOTS)}"


def _reason(text: str) -> str:
    found = re.search(r'Key not found in map : "?([^"]*)"?', text)
    if found is not None:
        return f"the field {found[1]!r} is missing; ask with has() where it may be"
    if "Iteration budget exceeded" in text:
        return "it takes too many steps"
    if 'No value with name "data"' in text:
        return "the body is not JSON"
    # What follows the status word is the package's own sentence, such as "divide by zero".
    return re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", text.splitlines()[0] if text else "it cannot be evaluated")
