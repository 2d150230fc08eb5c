"""Reads routing.yaml: YAML, environment, models, names. Every mistake at once, each with its line and column.

Nothing that came from the environment appears in a message: errors show ``${NAME}`` as the file writes it.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hub.errors import ConfigError, Problem
from hub.routing.config import RoutingConfig
from hub.routing.fields import nearest, shown
from hub.routing.names import Finding, Known, check_names
from hub.routing.yamltext import Loc, Place, YamlText, read_yaml, top_level

FILE_BYTES_MAX: Final = 1_048_576
PROBLEMS_MAX: Final = 200
_SECRET_NAMES: Final = ("secret", "password", "token", "api_key")


@dataclass(frozen=True)
class LoadedRouting:
    """A file that may be used: what it says, where it says it, and what in it deserves a second look."""

    config: RoutingConfig
    path: Path
    places: Mapping[Loc, Place]
    warnings: tuple[Problem, ...] = ()

    def problem(self, loc: Loc, message: str, *, at_key: bool = False) -> Problem:
        """A finding at a place of this file, such as ``("routes", 3, "match", 0)``: at its value or at its name."""
        return _problem(str(self.path), self.places, Finding(loc, message, at_key=at_key))


@dataclass(frozen=True)
class ReadRouting:
    """A file whose text is right, and whose names are still to be checked against what the capabilities bring."""

    config: RoutingConfig
    path: Path
    text: YamlText = field(repr=False)

    def checked(self, known: Known | None = None) -> LoadedRouting:
        """The file, usable. Without ``known`` those names are not checked that capabilities bring.

        Raises ConfigError with every mistake that was found.
        """
        read = self.text
        errors, warnings = check_names(self.config, known)
        problems = [_without_secrets(read, _problem(str(self.path), read.places, error)) for error in errors]
        if problems:
            raise ConfigError(_in_order(problems))
        notes = [_without_secrets(read, _problem(str(self.path), read.places, note)) for note in warnings]
        return LoadedRouting(self.config, self.path, read.places, tuple(_in_order([*notes, *_written_secrets(read)])))


def load_routing(path: Path | str, *, environ: Mapping[str, str], known: Known | None = None) -> LoadedRouting:
    """Read the file. ``known`` holds what the loaded capabilities bring; without it those names are not checked.

    Raises ConfigError with every mistake that was found.
    """
    return read_routing(path, environ=environ).checked(known)


def read_routing(path: Path | str, *, environ: Mapping[str, str]) -> ReadRouting:
    """Read the file, for those who learn from it what is known. Raises ConfigError with every mistake of the text."""
    path = Path(path)
    return _read_text(_read_file(path), path=path, environ=environ)


def capability_names(path: Path) -> list[str]:
    """What stands under ``capabilities:``, read without the environment. Raises ConfigError when there is no file."""
    listed = top_level(_read_file(path), file=str(path), name="capabilities").value
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [name for name in names if all(part.isidentifier() for part in name.split("."))]


def load_text(
    text: str, *, path: Path | str = "routing.yaml", environ: Mapping[str, str], known: Known | None = None
) -> LoadedRouting:
    """Like ``load_routing``, from a text; ``path`` is the name in messages and where relative files start."""
    return _read_text(text, path=Path(path), environ=environ).checked(known)


def _read_text(text: str, *, path: Path, environ: Mapping[str, str]) -> ReadRouting:
    read = read_yaml(text, file=str(path), environ=environ)
    config = _validated(read) if not read.problems or read.value is not None else None
    if config is None or read.problems:
        raise ConfigError(_in_order([_without_secrets(read, problem) for problem in read.problems]))
    return ReadRouting(config, path, read)


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(FILE_BYTES_MAX + 1)
        if len(body) > FILE_BYTES_MAX:
            raise ConfigError([Problem(f"expected a file of at most {FILE_BYTES_MAX} bytes", str(path))])
        return body.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror or error}", str(path))]) from None
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        column = error.start - (body.rfind(b"\n", 0, error.start) + 1) + 1
        raise ConfigError([Problem("expected UTF-8 text", str(path), line, column)]) from None


def _validated(read: YamlText) -> RoutingConfig | None:
    if not isinstance(read.value, dict):
        read.problem(f"expected a mapping with version: 1, found {shown(read.value)}", 1, 1)
        return None
    try:
        return RoutingConfig.model_validate(read.value)
    except ValidationError as error:
        # Not chained: the original would carry values of the environment.
        for detail in error.errors(include_url=False):
            finding = Finding(tuple(detail["loc"]), _message(detail), at_key=_is_about_name(detail))
            read.problems.append(_problem(read.file, read.places, finding))
        return None


def _problem(file: str, places: Mapping[Loc, Place], finding: Finding) -> Problem:
    loc = _written_loc(finding.loc, places)
    place = places.get(loc)
    if place is None:
        return Problem(finding.message, file)
    if finding.at_key and place.key is not None:
        return Problem(finding.message, file, *place.key)
    line, column = _within(place, finding)
    return Problem(finding.message, file, line, column)


def _written_loc(loc: Loc, places: Mapping[Loc, Place]) -> Loc:
    # The models know a few steps that the file does not write, such as a list made of a single value.
    written: Loc = ()
    for step in loc:
        if (*written, step) in places:
            written = (*written, step)
    return written


def _within(place: Place, finding: Finding) -> tuple[int, int]:
    if finding.line is None or finding.column is None:
        return place.line, place.column
    if place.style == "|":
        # The text starts in the line after the sign, without its indentation.
        return place.line + finding.line, place.indent + finding.column
    if not place.is_single_line:
        return place.line, place.column
    return place.line, place.column + finding.column - 1 + (1 if place.style else 0)


_MESSAGES: Final = {
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "literal_error": "expected {expected}",
    "greater_than": "expected a number above {gt}",
    "greater_than_equal": "expected a number of at least {ge}",
    "less_than_equal": "expected a number of at most {le}",
    "string_too_short": "expected a text of at least {min_length} characters",
    "string_too_long": "expected a text of at most {max_length} characters",
    "too_short": "expected at least {min_length} entries",
    "too_long": "expected at most {max_length} entries",
}


def _message(detail: ErrorDetails) -> str:
    kind, loc = detail["type"], detail["loc"]
    if kind == "extra_forbidden":
        return f"unknown field {str(loc[-1])!r}; {nearest(str(loc[-1]), _fields_at(loc[:-1]))}"
    if kind == "missing":
        return f"expected the field {str(loc[-1])!r}"
    if kind == "routing":
        return detail["msg"]
    pattern = _MESSAGES.get(kind)
    expected = pattern.format(**detail.get("ctx", {})) if pattern else detail["msg"]
    return f"{expected}, found {shown(detail['input'])}"


def _is_about_name(detail: ErrorDetails) -> bool:
    # The models mark a mistake in the name of an entry by this last step.
    return detail["type"] == "extra_forbidden" or detail["loc"][-1:] == ("[key]",)


def _fields_at(loc: Loc) -> list[str]:
    """The field names, as the file writes them, of the model that stands at this place."""
    here: Any = RoutingConfig
    for step in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in here.model_fields.items()}
            here = fields.get(str(step), here)
        here = _element(here)
    if isinstance(here, type) and issubclass(here, BaseModel):
        return [field.alias or name for name, field in here.model_fields.items()]
    return []


def _element(annotation: Any) -> Any:
    # dict[str, Source] → Source, tuple[Route, ...] → Route, Webhook | None → Webhook
    for argument in typing.get_args(annotation):
        found = _element(argument)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return annotation


def _without_secrets(read: YamlText, problem: Problem) -> Problem:
    message = problem.message
    for filled, written in sorted(read.filled_in.items(), key=lambda pair: -len(pair[0])):
        message = message.replace(shown(filled), written)
        # A short text could be part of any word: it is replaced only where it stands in quotes, above.
        if len(filled) >= 4:
            message = message.replace(filled, written)
    return Problem(message, problem.file, problem.line, problem.column)


def _written_secrets(read: YamlText) -> list[Problem]:
    found = []
    for loc, place in read.places.items():
        names = [str(step) for step in loc[loc.index("auth") + 1 :]] if "auth" in loc else []
        secret = next((name for name in names if name.removesuffix("s") in _SECRET_NAMES), None)
        if secret is not None and loc not in read.from_environ and isinstance(_at(read.value, loc), str):
            message = f"{secret} is written out in the file: name an environment variable instead, as ${{NAME}}"
            found.append(Problem(message, read.file, place.line, place.column))
    return found


def _at(value: Any, loc: Loc) -> Any:
    for step in loc:
        value = value[step]
    return value


def _in_order(problems: list[Problem]) -> list[Problem]:
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: (problem.line or 0, problem.column or 0))[:PROBLEMS_MAX]
