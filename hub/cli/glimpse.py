"""Which capabilities routing.yaml names, and what each brings to the command line, without importing any.

The list of commands must answer at once and must work where routing.yaml is broken, so the file is read only as far as
its ``capabilities:`` and each package only as text.
"""

from __future__ import annotations

import ast
import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROUTING_DEFAULT = "routing.yaml"
FILE_BYTES_MAX = 1_048_576


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One capability as far as its text tells. What cannot be told from the text is assumed to be there."""

    module: str
    name: str
    summary: str
    has_cli: bool = True
    has_sandbox: bool = True
    has_checks: bool = True
    has_reconcile: bool = True
    has_reports: bool = True


@dataclass(frozen=True, slots=True)
class Glimpses:
    """What is known of the capabilities; ``absence`` says why some or all are missing, empty when none is."""

    members: Sequence[Glimpse] = ()
    absence: str = ""

    @classmethod
    def of_environment(cls) -> Glimpses:
        """Those of the file that HUB_ROUTING names. Never raises: the reason is in ``absence``."""
        path = Path(os.environ.get("HUB_ROUTING", "").strip() or ROUTING_DEFAULT).expanduser().absolute()
        try:
            modules = list(_capabilities(path))
        except _UnreadableError as error:
            return cls(absence=f"The commands of the capabilities are absent: {path}{error}.")
        members, lost = [], []
        for module in modules:
            glimpse = _glimpse(module)
            members += [glimpse] if glimpse is not None else []
            lost += [module] if glimpse is None else []
        absence = f"Some commands are absent: {path}: there is no package {', '.join(lost)}." if lost else ""
        return cls(members, absence)

    def named(self, name: str) -> Glimpse | None:
        return next((one for one in self.members if one.name == name), None)


class _UnreadableError(Exception):
    """The end of a sentence that begins with the file's name."""


def _capabilities(path: Path) -> Iterator[str]:
    """The entries of the top-level list ``capabilities``; what stands after it is not read."""
    # Only where a list of commands is asked for: a plain command never pays for the reader.
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415
    from ruamel.yaml.events import ScalarEvent  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode("utf-8-sig")
        for event in _list_of(YAML(typ="safe", pure=True).parse(text)):
            if isinstance(event, ScalarEvent):
                yield str(event.value)
    except OSError as error:
        raise _UnreadableError(f" cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _UnreadableError(": expected UTF-8 text") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise _UnreadableError(f"{place}: expected YAML, {error.problem or error.context}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise _UnreadableError(": expected YAML") from error


def _list_of(events: Iterator[Any]) -> Iterator[Any]:
    """The events inside the top-level sequence ``capabilities``."""
    depth, is_key, wanted = 0, True, False
    for event in events:
        kind = type(event).__name__
        if kind.endswith("StartEvent") and kind not in ("StreamStartEvent", "DocumentStartEvent"):
            depth += 1
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            depth -= 1
            if depth == 1:
                if wanted:
                    return
                is_key = True
        elif kind == "ScalarEvent" and depth == 1:
            wanted = is_key and event.value == "capabilities"
            is_key = not is_key
        elif wanted:
            yield event


def _glimpse(module: str) -> Glimpse | None:
    """What the text of the package says; None when there is no such package."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    name = module.rpartition(".")[2]
    try:
        tree = ast.parse(Path(spec.origin or "").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return Glimpse(module, name, f"Commands of {module}.")
    summary = _first_sentence(ast.get_docstring(tree) or "") or f"Commands of {module}."
    declaration = next((call for call in ast.walk(tree) if _is_declaration(call)), None)
    if not isinstance(declaration, ast.Call):
        return Glimpse(module, name, summary)
    given = {keyword.arg: keyword.value for keyword in declaration.keywords}
    if None in given:
        return Glimpse(module, name, summary)
    written = given.get("name")
    if isinstance(written, ast.Constant) and isinstance(written.value, str):
        name = written.value
    brings = (part in given for part in ("cli", "sandbox_cli", "checks", "reconcile", "reports"))
    return Glimpse(module, name, summary, *brings)


def _is_declaration(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")) == "Capability"


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n", 1)[0].split())


def load_part(glimpse: Glimpse, part: str) -> Any:
    """One part of the capability, for which it is imported now; None when it brings none."""
    return getattr(importlib.import_module(glimpse.module).capability, part)
