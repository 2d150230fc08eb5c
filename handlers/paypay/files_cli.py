"""``hub paypay files …``: transaction files, what is in them, and having one fetched or read once more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from handlers.paypay.files_fetching import CHUNK
from handlers.paypay.files_store import FileStore
from handlers.paypay.files_views import PAGE_ROWS, find_file, list_files, page_of, view_of
from handlers.paypay.tables_files import FileStatus, PayPayTransactionFile
from hub.api import HubApi
from hub.cli.opening import opened
from hub.cli.options import ByOption, LimitOption, actor, as_uuid
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.errors import RefusedCommand, UsageError
from schemas.paypay_files import FileOrdered, FileView

T = TypeVar("T")
ORDER = "paypay.file.order"

files_cli = typer.Typer(no_args_is_help=True, help="Transaction files of PayPay.")

FileArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of the file.")]
SinceOption = Annotated[str | None, typer.Option(help="The first day that the files are about, in Japan: YYYY-MM-DD.")]
UntilOption = Annotated[str | None, typer.Option(help="The last day.")]


@files_cli.command("list")
def list_(
    since: SinceOption = None,
    until: UntilOption = None,
    file_type: Annotated[str | None, typer.Option("--type", help="PayPay's word, such as transaction_recon.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those in this state, such as FAILED.")] = None,
    *,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List transaction files, newest first."""
    if status is not None and status.upper() not in tuple(FileStatus):
        raise UsageError(f"--status: expected one of {', '.join(FileStatus)}, found {status!r}")
    first, last = as_day(since, "--since"), as_day(until, "--until")

    async def look(api: HubApi) -> list[FileView]:
        async with api.reading() as session:
            state = status.upper() if status is not None else None
            found = await list_files(session, since=first, until=last, file_type=file_type, status=state, limit=limit)
            return list(found)

    views = _look(look)
    if as_json:
        print_json(views)
        return
    columns = ["id", "file", "day", "state", "rows", "paid", "refunded", "breaks", "problem"]
    rows = [
        [
            *(view.file_id, view.file_name, view.day or "", view.status, _number(view.row_count)),
            *(_number(view.completed_jpy), _number(view.refunded_jpy), _number(view.break_count)),
            view.last_error or "",
        ]
        for view in views
    ]
    print_table("Transaction files", columns, rows)


@files_cli.command("show")
def show(
    id: FileArgument,
    page: Annotated[int, typer.Option(min=1, max=1_000_000, help=f"Which {PAGE_ROWS} rows.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Show one file: how it stands, and a page of its rows."""

    async def look(api: HubApi) -> tuple[FileView, Any]:
        row = await _find(api, id)
        settings = api.settings_of("paypay")
        return view_of(row), (await page_of(settings, row, page) if row.storage_key is not None else None)

    view, rows = _look(look)
    if as_json:
        print_json({"file": view.model_dump(mode="json"), "page": rows.model_dump(mode="json") if rows else None})
        return
    print_table("Transaction file", ["", ""], [[name, value] for name, value in view.model_dump().items()])
    if rows is None:
        return
    columns = list(rows.rows[0].cells) if rows.rows else list(view.columns)
    shown = [[one.line, *one.cells.values()] for one in rows.rows]
    print_table(f"Page {rows.page} of {rows.pages or 'unknown'}", ["line", *columns], shown)
    if rows.problem:
        say(f"Not readable from here on: {rows.problem}")


@files_cli.command("download")
def download(
    id: FileArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: its own name, here; - = print it.")
    ] = None,
) -> None:
    """Write a file as PayPay sent it, byte for byte: CSV in Shift_JIS."""

    async def look(api: HubApi) -> Path:
        row = await _find(api, id)
        if row.storage_key is None or row.sha256 is None:
            raise UsageError(f"the file is {row.status}: there is nothing to download yet")
        path = output or Path(Path(row.file_name).name)
        async with FileStore(api.settings_of("paypay")).content(row.storage_key, row.sha256) as content:
            try:
                with sys.stdout.buffer if str(path) == "-" else path.open("wb") as target:
                    while chunk := content.read(CHUNK):
                        target.write(chunk)
            except OSError as error:
                raise UsageError(f"{path} cannot be written: {error.strerror}") from error
        return path

    path = _look(look)
    if str(path) != "-":
        say(f"Written to {path}")


@files_cli.command("fetch")
def fetch(id: FileArgument, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Have a file fetched now, as long as its address is good; or read and compared once more, where it is kept.

    Afterwards PayPay must be asked to send the notice again: it keeps files for a week.
    """

    async def act(api: HubApi) -> object:
        order = FileOrdered(file_id=as_uuid(id, "ID"), by=actor(by))
        try:
            return await api.command(ORDER, order, key=id)
        except RefusedCommand as error:
            raise UsageError(error.detail) from error

    async def work() -> object:
        async with opened() as hub:
            return await act(hub.api)

    what = run(work)
    if as_json:
        print_json({"being": what})
    else:
        say(f"It is being {what}; see the result with: hub paypay files show {id}")


def as_day(text: str | None, option: str) -> date | None:
    """A day as people type it. Raises UsageError."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option}: expected a day such as 2026-10-31, found {text[:20]!r}") from None


async def _find(api: HubApi, id: str) -> PayPayTransactionFile:
    async with api.reading() as session:
        row = await find_file(session, as_uuid(id, "ID"))
    if row is None:
        raise UsageError(f"no transaction file has the id {id}")
    return row


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _look(look: Callable[[HubApi], Coroutine[Any, Any, T]]) -> T:
    async def work() -> T:
        async with opened(needs_secrets=False) as hub:
            return await look(hub.api)

    return run(work)
