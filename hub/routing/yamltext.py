"""Reads YAML 1.2 into plain values, and remembers the line and column of each.

Stricter than YAML: one document, no tags, no merge keys, no key twice, text keys only. A number with a fraction is a
``Decimal``; what looks like a date is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from hub.errors import Problem
from hub.routing.fields import hint

NODES_MAX: Final = 200_000
"""Values in one file, with every alias counted as what it stands for."""
DEPTH_MAX: Final = 32
TEXTS_REMEMBERED: Final = 4
NUMBER_CHARS_MAX: Final = 100
EXPONENT_CHARS_MAX: Final = 3
_TOO_LONG: Final = object()

Loc: TypeAlias = tuple[str | int, ...]
"""The way to a value: names and list positions from the top of the file."""

_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_KINDS: Final = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FRACTION: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DIRECTIVE: Final = re.compile(r"^%YAML[ \t]++(?!1\.2[ \t]*\r?$).*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. Lines and columns start at 1; ``key`` is where its name stands, in a mapping."""

    line: int
    column: int
    key: tuple[int, int] | None = None
    style: str = ""
    """Empty for a plain text, else its quote, or the sign of a block: | or >."""
    is_single_line: bool = True
    indent: int = 0
    """Columns before each line of a block."""


@dataclass(slots=True)
class YamlText:
    """What was read: plain values, their places, what came from the environment, and the mistakes found."""

    file: str
    text: str
    environ: Mapping[str, str]
    value: Any = None
    places: dict[Loc, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    filled_in: dict[str, str] = field(default_factory=dict, repr=False)
    """Texts that hold values of the environment → how the file writes them; errors show only the latter."""
    from_environ: set[Loc] = field(default_factory=set)
    nodes: int = 0

    def problem(self, message: str, line: int | None = None, column: int | None = None) -> None:
        """Note one mistake."""
        self.problems.append(Problem(message, self.file, line, column))


def read_yaml(text: str, *, file: str, environ: Mapping[str, str]) -> YamlText:
    """Read the text. Never raises for what stands in it: look at ``problems``."""
    return _read(YamlText(file, text, environ), lambda root: root)


def top_level(text: str, *, file: str, name: str) -> YamlText:
    """Only what stands under one name of the outermost mapping, without the environment; None where there is none."""

    def under(root: Node) -> Node | None:
        pairs = root.value if isinstance(root, MappingNode) else []
        return next((value for key, value in pairs if isinstance(key, ScalarNode) and key.value == name), None)

    return _read(YamlText(file, text, {}), under)


def _read(read: YamlText, part: Callable[[Node], Node | None]) -> YamlText:
    text = read.text
    directive = _DIRECTIVE.search(text)
    if directive is not None:
        read.problem("expected YAML 1.2", text.count("\n", 0, directive.start()) + 1, 1)
        return read
    try:
        root = _composed(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
        read.problem(f"expected YAML, {error.problem or error.context}", *place)
    except ReaderError as error:
        line, column = text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position)
        read.problem(f"expected YAML, found the character U+{ord(text[error.position]):04X}", line, column)
    except (YAMLError, RecursionError, ValueError) as error:
        read.problem(f"expected YAML, {'it is nested too deeply' if isinstance(error, RecursionError) else error}")
    else:
        wanted = part(root) if root is not None else None
        read.value = _value(read, wanted, ()) if wanted is not None else None
    return read


@lru_cache(maxsize=TEXTS_REMEMBERED)
def _composed(text: str) -> Node | None:
    # Nobody changes the nodes. A start reads one file twice, with more known of its environment the second time, and a
    # long one takes half a second.
    yaml = YAML(typ="rt", pure=True)
    # A name that is given once more counts from there on, which is right: nothing to warn of on somebody's terminal.
    yaml.composer.warn_double_anchors = False
    root: Node | None = yaml.compose(text)
    return root


def _value(read: YamlText, node: Node, loc: Loc, key: tuple[int, int] | None = None) -> Any:
    read.nodes += 1
    start = node.start_mark
    single = node.end_mark.line == start.line
    style = node.style or "" if isinstance(node, ScalarNode) else ""
    indent = _indent(read.text, start.index) if style == "|" else 0
    read.places[loc] = place = Place(start.line + 1, start.column + 1, key, style, single, indent)
    if len(loc) > DEPTH_MAX or read.nodes > NODES_MAX:
        if read.nodes <= NODES_MAX + 1:
            read.problem(f"expected at most {DEPTH_MAX} levels and {NODES_MAX} values", place.line, place.column)
        return None
    if str(node.tag) not in _TAGS:
        read.problem(f"expected a plain value, found the tag {node.tag}", place.line, place.column)
        return None
    if isinstance(node, MappingNode):
        return _mapping(read, node, loc)
    if isinstance(node, SequenceNode):
        return [_value(read, item, (*loc, number)) for number, item in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return _scalar(read, node, loc)


def _indent(text: str, block_start: int) -> int:
    first = next((line for line in text[block_start : block_start + 10_000].splitlines()[1:] if line.strip()), "")
    return len(first) - len(first.lstrip(" "))


def _mapping(read: YamlText, node: MappingNode, loc: Loc) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
        name = key_node.value if isinstance(key_node, ScalarNode) else None
        if name is None:
            read.problem("expected a name before the colon", line, column)
        elif name == "<<" and not key_node.style:
            read.problem("expected a name, found <<: YAML 1.2 has no merging, write the fields out", line, column)
        elif name in result:
            first = read.places[(*loc, name)].key or (0, 0)
            read.problem(f"the name {name!r} stands twice, first in line {first[0]}", line, column)
        else:
            result[name] = _value(read, value_node, (*loc, name), (line, column))
    return result


def _scalar(read: YamlText, node: ScalarNode, loc: Loc) -> Any:
    text = str(node.value)
    if node.style == ">":
        # The reader marks the places where it folded with a bell, for writing the file back.
        text = text.replace("\a", "")
    if "${" in text:
        return _fill_in(read, text, loc)
    value = text if node.style or str(node.tag) == _TEXT_TAG else _plain(text)
    if value is _TOO_LONG:
        place = read.places[loc]
        read.problem(f"expected a number of at most {NUMBER_CHARS_MAX} digits", place.line, place.column)
        return None
    return value


def _plain(text: str) -> Any:
    # The core schema of YAML 1.2: yes, no, on, off, dates and 12:30:00 are text.
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        # A longer one takes time that grows with its square, and Python refuses to write it down: nobody means it.
        is_long = len(text) > NUMBER_CHARS_MAX
        return _TOO_LONG if is_long else int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if not _FRACTION.fullmatch(text):
        return text
    exponent = text.lower().partition("e")[2]
    return _TOO_LONG if len(text) > NUMBER_CHARS_MAX or len(exponent) > EXPONENT_CHARS_MAX else Decimal(text)


def _fill_in(read: YamlText, text: str, loc: Loc) -> str:
    place = read.places[loc]
    used = False

    def replace(found: re.Match[str]) -> str:
        nonlocal used
        if found[0] == "$${":
            return "${"
        if found[1] is None:
            read.problem("expected ${NAME} or ${NAME:-default}; write $${ for the letters ${", place.line, place.column)
            return ""
        value = read.environ.get(found[1])
        if value is None or (value == "" and found[2] is not None):
            value = found[2]
        if value is None:
            read.problem(_missing(found[1], read.environ), place.line, place.column)
            return ""
        used = True
        return value

    result = _VARIABLE.sub(replace, text)
    if used:
        read.from_environ.add(loc)
        read.filled_in[result] = text
    return result


def _missing(name: str, environ: Mapping[str, str]) -> str:
    return f"the environment variable {name} is not set{hint(name, environ)}"
