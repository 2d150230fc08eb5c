"""The texts of invoices, from a file: read and checked once at start, filled in for each payment.

The file is an invoice of PayPal's in YAML whose texts may name fields such as ``{plan.name}``; ``{{`` and ``}}`` are
braces. A mistake is told with its line and column. Source: docs/providers/paypal.md, "Invoice template".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from handlers.paypal.invoice_fields import FILLED_IN, INVOICE, OF_THE_PAYMENT, Many, Number, Shape, Switch, Words
from hub.errors import ConfigError, Problem
from hub.routing.fields import nearest
from hub.routing.yamltext import Loc, YamlText, read_yaml

FILE_BYTES_MAX: Final = 256 * 1024
_BRACES: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class InvoiceTemplate:
    """What the file says; without a file, nothing."""

    value: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> InvoiceTemplate:
        """Read the file. Raises ConfigError, which lists every mistake with its place."""
        try:
            body = file.read_bytes()
        except OSError as error:
            raise ConfigError([Problem(f"cannot be read: {error.strerror}", str(file))]) from error
        if len(body) > FILE_BYTES_MAX:
            raise ConfigError([Problem(f"expected at most {FILE_BYTES_MAX} bytes", str(file))])
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise ConfigError([Problem(f"expected UTF-8, found byte {error.start}", str(file))]) from error
        return cls.read(text, file=str(file))

    @classmethod
    def read(cls, text: str, *, file: str = "") -> InvoiceTemplate:
        """Read the text of a file. Raises ConfigError."""
        # No variables of the environment: what stands in braces is filled in for each payment.
        read = read_yaml(text, file=file, environ={})
        value: Any = {}
        if not read.problems:
            value = _checked(read, {} if read.value is None else read.value, INVOICE, ())
            _check_tax(read, value)
        if read.problems:
            raise ConfigError(read.problems)
        return cls(value)

    def filled_in(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The invoice's own parts for one payment; a text that has become too long is cut."""
        filled = _filled(self.value, INVOICE, values)
        assert isinstance(filled, dict)
        return filled


def _checked(read: YamlText, value: Any, shape: Shape, loc: Loc) -> Any:
    match shape:
        case Words():
            return _words(read, value, shape, loc)
        case Switch():
            if not isinstance(value, bool):
                _problem(read, loc, "expected true or false")
            return value
        case Many(of=of, most=most):
            if not isinstance(value, list) or not 1 <= len(value) <= most:
                _problem(read, loc, f"expected a list of {'one' if most == 1 else f'1 to {most}'}")
                return []
            return [_checked(read, one, of, (*loc, number)) for number, one in enumerate(value)]
        case _:
            return _members(read, value, shape, loc)


def _members(read: YamlText, value: Any, shape: Mapping[str, Shape], loc: Loc) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _problem(read, loc, "expected names with values")
        return {}
    known = {}
    for name, one in value.items():
        if name in shape:
            known[name] = _checked(read, one, shape[name], (*loc, name))
        elif name in OF_THE_PAYMENT:
            _problem(read, (*loc, name), f"{name} comes from the payment and cannot be set here", is_name=True)
        else:
            _problem(read, (*loc, name), f"unknown name {name!r}; {nearest(name, shape)}", is_name=True)
    return known


def _words(read: YamlText, value: Any, shape: Words, loc: Loc) -> str:
    if isinstance(shape, Number) and isinstance(value, int | Decimal) and not isinstance(value, bool):
        value = format(value, "f") if isinstance(value, Decimal) else str(value)
    if not isinstance(value, str):
        _problem(read, loc, f"expected {shape.expected}; put it into quotes")
        return ""
    has_fields = False
    for found in _BRACES.finditer(value):
        if found[0] in ("{{", "}}"):
            continue
        has_fields = True
        if found[1] is None:
            _problem(read, loc, f"{found[0]} stands alone: write {found[0] * 2} for the character", at=found.start())
        elif found[1] not in FILLED_IN:
            _problem(read, loc, f"unknown field {found[0]}; {nearest(found[1], FILLED_IN)}", at=found.start())
    if not has_fields:
        plain = fill(value, {})
        if len(plain) > shape.most:
            _problem(read, loc, f"expected at most {shape.most} characters, found {len(plain)}")
        elif shape.form is not None and not shape.form.fullmatch(plain):
            _problem(read, loc, f"expected {shape.expected}, found {plain[:40]!r}")
    return value


def _check_tax(read: YamlText, value: Mapping[str, Any]) -> None:
    """A tax on top would make the invoice larger than the payment."""
    is_inclusive = value.get("configuration", {}).get("tax_inclusive") is True
    for number, item in enumerate(value.get("items", ())):
        if "tax" not in item:
            continue
        if not is_inclusive:
            message = "the payment holds its tax: set configuration.tax_inclusive to true"
            _problem(read, ("items", number, "tax"), message, is_name=True)
        missing = [name for name in ("name", "percent") if name not in item["tax"]]
        if missing:
            _problem(read, ("items", number, "tax"), f"expected {' and '.join(missing)} of the tax", is_name=True)


def _problem(read: YamlText, loc: Loc, message: str, *, is_name: bool = False, at: int | None = None) -> None:
    place = read.places.get(loc)
    where = ".".join(str(part) for part in loc)
    text = f"{where}: {message}" if where else message
    if place is None:
        read.problem(text)
        return
    if is_name and place.key is not None:
        read.problem(text, *place.key)
        return
    # In a text of one line the column of the very character; in a longer one, where it begins.
    is_exact = at is not None and place.is_single_line and place.style in ("", "'", '"')
    offset = at + len(place.style) if is_exact and at is not None else 0
    read.problem(text, place.line, place.column + offset)


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its fields filled in; one that has no value is left out."""
    doubled = {"{{": "{", "}}": "}"}
    return _BRACES.sub(lambda found: doubled.get(found[0]) or values.get(found[1] or "", ""), text)


def _filled(value: Any, shape: Shape, values: Mapping[str, str]) -> Any:
    match shape:
        case Words(most=most):
            return fill(value, values)[:most]
        case Switch():
            return value
        case Many(of=of):
            return [_filled(one, of, values) for one in value]
        case _:
            parts = {name: _filled(one, shape[name], values) for name, one in value.items()}
            # An empty text says nothing, and PayPal refuses some of them.
            return {name: one for name, one in parts.items() if one != ""}


def merged(below: Any, above: Any) -> Any:
    """``above`` over ``below``, member by member; of lists, item by item."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        names = {**below, **above}
        return {
            name: merged(below[name], above[name]) if name in below and name in above else names[name] for name in names
        }
    if _is_list(below) and _is_list(above):
        both = [merged(left, right) for left, right in zip(below, above, strict=False)]
        return [*both, *(above if len(above) > len(below) else below)[len(both) :]]
    return above


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
