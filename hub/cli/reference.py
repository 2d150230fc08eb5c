"""The reference of all commands as Markdown: ``python -m hub.cli.reference > docs/cli.md``.

Made from the commands themselves; a test fails when the file is not what this makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from hub.cli.catalogue import COMMANDS
from hub.cli.lazy import imported

SHOWN_ELSEWHERE = frozenset({"--help", "--json"})

INTRODUCTION = """\
# Commands

<!-- Made by `python -m hub.cli.reference > docs/cli.md`; do not edit by hand. -->

`hub --help` lists the commands, `hub COMMAND --help` explains one.

- **Answers.** A table for people; with `--json` one JSON document for programs. Errors go to standard error. Amounts in
  JSON are whole numbers of the smallest unit (`…_minor`), beside decimal text in whole units.
- **Exit codes.** 0: done, nothing wrong. 1: a problem was found, or the call could not be carried out. 2: the call, a
  setting or routing.yaml is wrong.
- **Which hub.** Commands read the same variables as `hub run` (docs/settings.md): `HUB_HOME`, `HUB_ROUTING`,
  `HUB_DATABASE_URL` … They work beside a running hub, on its database; on SQLite they wait up to 5 s for its writer.
- **Secrets.** None is ever printed. Commands that only look, or act on stored rows, do not need the providers'
  secrets: a variable that routing.yaml names and that is not set is replaced by a placeholder there.
- **Payloads.** What a source's `mask:` names shows as `***`; `--raw` shows all.
- **Ids.** An event is named by its id or the first 8 or more characters of it.
- **Capabilities.** Each capability of routing.yaml may bring commands of its own (`hub CAPABILITY …`), a stand-in for
  its provider (`hub sandbox CAPABILITY …`) and checks (`hub doctor CAPABILITY`). Where routing.yaml cannot be read,
  `hub --help` says so, and the hub's own commands are still there.
- Colours are left out where `NO_COLOR` is set or standard output is no terminal.
"""


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for panel, entries in COMMANDS.items():
        parts.append(f"## {panel}\n")
        for name, (target, sentence) in entries.items():
            command = imported(target, name)()
            inner = getattr(command, "commands", None)
            if inner is None:
                parts += _command(f"hub {name}", command, 3)
                continue
            parts.append(f"### hub {name}\n\n{sentence}\n")
            for inner_name, one in inner.items():
                parts += _command(f"hub {name} {inner_name}", one, 4)
    return "\n".join(parts)


def _command(path: str, command: Any, level: int) -> Iterator[str]:
    text, examples = _split(command.help or "")
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not SHOWN_ELSEWHERE & {*one.opts}]
    usage = " ".join([path, *(_argument(one) for one in arguments), *(_usage(one) for one in options)])
    yield f"{'#' * level} {path}\n\n{text}\n"
    yield f"    {usage}\n"
    rows = [(_argument(one), one.help) for one in arguments] + [(", ".join(one.opts), one.help) for one in options]
    if rows:
        yield "\n".join(f"- `{name}`: {meaning}" for name, meaning in rows) + "\n"
    for example in examples:
        if example != usage:
            yield f"Example: `{example}`\n"


def _split(text: str) -> tuple[str, list[str]]:
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    examples = [part.removeprefix("Example: ") for part in paragraphs if part.startswith("Example: ")]
    return "\n\n".join(part for part in paragraphs if not part.startswith("Example: ")), examples


def _argument(one: Any) -> str:
    return str(one.metavar or one.name.upper())


def _usage(one: Any) -> str:
    value = "" if getattr(one, "is_flag", False) else f" {one.metavar or one.opts[0].lstrip('-').upper()}"
    flag = "|".join([*one.opts[:1], *one.secondary_opts[:1]])
    return f"{flag}{value}" if one.required else f"[{flag}{value}]"


if __name__ == "__main__":
    sys.stdout.write(reference())
