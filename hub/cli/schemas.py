"""``hub schemas`` and ``hub asyncapi``: what messages look like. No database and no secret is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import load_rules
from hub.cli.options import expect_known
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.errors import UsageError

if TYPE_CHECKING:
    from hub.apidoc.published import Published

group = new_group("The JSON Schemas of the messages that come in and go out, as capabilities name them.")

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder; made where it is missing.")]
AlwaysJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, as always.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schema's name, such as sepay.Transfer.")]


@group.command("list")
def list_schemas(as_json: JsonOption = False) -> None:
    """List the schemas: each message's name, whether the hub writes or only reads it, and what it says.

    Example: hub schemas list
    """
    schemas = run(_published).traffic.schemas.by_name.values()
    if as_json:
        print_json([{"name": one.name, "direction": one.direction, "title": one.summary} for one in schemas])
    else:
        rows = [[one.name, one.direction, one.summary] for one in schemas]
        print_table("Schemas", ["schema", "direction", "message"], rows, empty="no capability names any")


@group.command("show")
def show(name: NameArgument, as_json: AlwaysJsonOption = True) -> None:
    """Print one JSON Schema.

    Example: hub schemas show sepay.WalletCredited
    """

    async def work() -> str:
        from hub.apidoc.published import as_json  # noqa: PLC0415 - only where documents are made

        schemas = (await _published()).schemas
        expect_known("NAME", name, schemas)
        return as_json(schemas[name])

    typer.echo(run(work), nl=False)


@group.command("export")
def export(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Write every JSON Schema and the AsyncAPI document into a folder, for other teams' tools.

    Example: hub schemas export build/schemas
    """

    async def work() -> list[str]:
        from hub.apidoc.published import as_json  # noqa: PLC0415

        published = await _published()
        documents = {f"{name}.json": schema for name, schema in published.schemas.items()}
        documents["asyncapi.json"] = published.asyncapi
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for file, document in documents.items():
                (directory / file).write_text(as_json(document), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{directory} cannot be written: {error.strerror or error}") from error
        return sorted(documents)

    written = run(work)
    if as_json:
        print_json(written)
    else:
        say(f"{len(written)} files in {directory}")


def print_asyncapi(as_json: AlwaysJsonOption = True) -> None:
    """Print the AsyncAPI document: messages, queues and exchanges. Version 3.0, of what routing.yaml says now.

    Example: hub asyncapi > asyncapi.json
    """

    async def work() -> str:
        from hub.apidoc.published import as_json  # noqa: PLC0415

        return as_json((await _published()).asyncapi)

    typer.echo(run(work), nl=False)


async def _published() -> Published:
    return load_rules()[2].published
