"""Transaction files over HTTP, for operators and their tools: list, view, download.

Source: docs/providers/paypay.md, "HTTP API".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from handlers.paypay.answering import BASE, as_json, described, path_id
from handlers.paypay.files_fetching import CHUNK
from handlers.paypay.files_store import FileStore
from handlers.paypay.files_views import PAGE_MAX, PAGE_ROWS, find_file, list_files, page_of, view_of
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables_files import PayPayTransactionFile
from hub.apidoc import Parameter
from hub.errors import RefusedCommand
from hub.ingress.tokens import Role
from schemas.paypay_files import FileList, FilePage, FileView

if TYPE_CHECKING:
    from hub.api import HubApi

FILES: Final = f"{BASE}/transaction-files"
TAG: Final = "PayPay: transaction files"
LIST_MAX: Final = 1_000
FILE_ID: Final = Parameter(name="file_id", place="path", schema={"type": "string", "format": "uuid"})
FROM: Final = Parameter(name="from", schema={"type": "string", "format": "date"}, description="First day, in Japan.")
TO: Final = Parameter(name="to", schema={"type": "string", "format": "date"}, description="Last day.")
TYPE: Final = Parameter(name="type", description="PayPay's word for it, such as transaction_recon.")
PAGE: Final = Parameter(
    name="page", schema={"type": "integer", "minimum": 1, "maximum": PAGE_MAX}, description=f"{PAGE_ROWS} rows each."
)


def file_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The routes of transaction files."""
    door = FilesApi(api)
    one, kept = (FILE_ID,), ("NOT_FOUND", "NOT_STORED")
    yield web.get(FILES, described(door.list, tag=TAG, reply=FileList, parameters=(FROM, TO, TYPE)))
    yield web.get(
        f"{FILES}/{{file_id}}", described(door.show, tag=TAG, reply=FileView, parameters=one, codes=("NOT_FOUND",))
    )
    yield web.get(
        f"{FILES}/{{file_id}}/rows",
        described(door.rows, tag=TAG, reply=FilePage, parameters=(*one, PAGE), codes=kept),
    )
    yield web.get(
        f"{FILES}/{{file_id}}/raw", described(door.raw, tag=TAG, reply="text/csv", parameters=one, codes=kept)
    )


class FilesApi:
    """One method per endpoint; errors are RefusedCommand with the code of the answer."""

    def __init__(self, api: HubApi) -> None:
        self._api = api

    async def list(self, request: web.Request) -> web.Response:
        """List transaction files, newest first, by the days that they are about and by type."""
        self._api.holder(request, Role.VIEWER)
        since, until = _day(request, "from"), _day(request, "to")
        type_ = _word(request, "type")
        async with self._api.reading() as session:
            files = await list_files(session, since=since, until=until, file_type=type_, limit=LIST_MAX)
        return as_json(FileList(files=tuple(files)))

    async def show(self, request: web.Request) -> web.Response:
        """Look at one transaction file: its state, what is in it, what is wrong with it."""
        self._api.holder(request, Role.VIEWER)
        return as_json(view_of(await self._file(request)))

    async def rows(self, request: web.Request) -> web.Response:
        """Look at a page of a file's rows, with every column as it stands there."""
        self._api.holder(request, Role.VIEWER)
        text = request.query.get("page", "1")
        page = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
        if not 1 <= page <= PAGE_MAX:
            raise RefusedCommand("INVALID_REQUEST", f"page: expected a number from 1 to {PAGE_MAX}")
        return as_json(await page_of(self._settings, await self._kept(request), page))

    async def raw(self, request: web.Request) -> web.StreamResponse:
        """Download a file, byte for byte as PayPay sent it."""
        self._api.holder(request, Role.VIEWER)
        row = await self._kept(request)
        assert row.storage_key is not None and row.sha256 is not None  # noqa: PT018 - as was just asked for
        async with FileStore(self._settings).content(row.storage_key, row.sha256) as content:
            name = quote(row.file_name)
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/csv; charset=Shift_JIS",
                    "Content-Length": str(row.size_bytes),
                    "Content-Disposition": f"attachment; filename=\"transactions.csv\"; filename*=UTF-8''{name}",
                    "ETag": f'"{row.sha256}"',
                }
            )
            await response.prepare(request)
            while chunk := content.read(CHUNK):
                await response.write(chunk)
            await response.write_eof()
        return response

    @property
    def _settings(self) -> PayPaySettings:
        settings: PayPaySettings = self._api.settings_of("paypay")
        return settings

    async def _file(self, request: web.Request) -> PayPayTransactionFile:
        async with self._api.reading() as session:
            row = await find_file(session, path_id(request, "file_id"))
        if row is None:
            raise RefusedCommand("NOT_FOUND", "no transaction file has this id")
        return row

    async def _kept(self, request: web.Request) -> PayPayTransactionFile:
        row = await self._file(request)
        if row.storage_key is None:
            raise RefusedCommand("NOT_STORED", f"the file is {row.status}: there is nothing to show yet")
        return row


def _day(request: web.Request, name: str) -> date | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RefusedCommand("INVALID_REQUEST", f"{name}: expected a day such as 2026-10-31") from None


def _word(request: web.Request, name: str) -> str | None:
    text = request.query.get(name)
    if text is not None and not (text.isprintable() and len(text) <= 255):
        raise RefusedCommand("INVALID_REQUEST", f"{name}: expected a word")
    return text
