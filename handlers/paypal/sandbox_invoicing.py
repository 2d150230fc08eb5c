"""The played PayPal's Invoicing API, behind the token and the misbehaviour of the rest.

Source: Invoicing v2; docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from handlers.paypal import sandbox_invoices as invoices
from handlers.paypal.sandbox_api import FAULT, SandboxApi, error, read_json
from handlers.paypal.sandbox_book import API_BASE, Book, Row
from handlers.paypal.sandbox_invoices import InvoiceRefusedError


@dataclass(frozen=True, slots=True)
class InvoicingApi:
    """Below the path of ``api``, whose book it keeps."""

    api: SandboxApi

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """Every endpoint of this part."""
        at, played = f"{self.api.path}/v2/invoicing", self.api.played
        one = f"{at}/invoices/{{id}}"
        yield web.post(f"{at}/generate-next-invoice-number", played("number", self.number))
        yield web.post(f"{at}/invoices", played("draft", self.draft))
        yield web.post(f"{at}/search-invoices", played("search-invoices", self.search))
        yield web.get(one, played("invoice", self.show))
        yield web.put(one, played("update-invoice", self.update))
        yield web.delete(one, played("delete-invoice", self.delete))
        yield web.post(f"{one}/send", played("send-invoice", self.send))
        yield web.post(f"{one}/payments", played("record-payment", self.record_payment))
        yield web.post(f"{one}/refunds", played("record-refund", self.record_refund))
        yield web.post(f"{one}/cancel", played("cancel-invoice", self.cancel))

    async def number(self, request: web.Request) -> web.Response:
        """The next number; nobody has it yet."""
        with self.api.keeper.opened() as book:
            return web.json_response({"invoice_number": invoices.next_number(book)})

    async def draft(self, request: web.Request) -> web.Response:
        """A new draft: only its link, or the whole of it where that is preferred."""
        asked = await read_json(request)
        try:
            with self.api.keeper.opened() as book:
                row = invoices.draft(book, asked, self.api.now)
        except InvoiceRefusedError as refused:
            return _refusal(refused)
        if "representation" in request.headers.get("Prefer", ""):
            return web.json_response(invoices.shown(row), status=201)
        href = f"{API_BASE}/v2/invoicing/invoices/{row['id']}"
        return web.json_response({"rel": "self", "href": href, "method": "GET"}, status=201)

    async def search(self, request: web.Request) -> web.Response:
        """Invoices whose number begins as asked; the index may be behind."""
        asked = await read_json(request)
        wanted = str(asked.get("invoice_number", ""))
        if len(wanted) > invoices.NUMBER_CHARS_MAX:
            return error(400, "INVALID_REQUEST", "INVALID_STRING_MAX_LENGTH")
        with self.api.keeper.opened() as book:
            rows = [
                invoices.shown(row)
                for row in book.invoices.values()
                if str(row["detail"]["invoice_number"]).startswith(wanted)
            ]
        found = [] if request[FAULT] == "stale" else rows
        return web.json_response({"items": found, "total_items": len(found), "total_pages": 1})

    async def show(self, request: web.Request) -> web.Response:
        """An invoice as it is now."""
        return await self._work(request, lambda book, row, asked: web.json_response(invoices.shown(row)))

    async def update(self, request: web.Request) -> web.Response:
        """The whole invoice anew, with a mail where that is asked for."""
        is_mailed = request.query.get("send_to_recipient", "true") == "true"

        def work(book: Book, row: Row, asked: Mapping[str, Any]) -> web.Response:
            return web.json_response(invoices.shown(invoices.update(row, asked, is_mailed=is_mailed)))

        return await self._work(request, work)

    async def delete(self, request: web.Request) -> web.Response:
        """Only a draft can go."""

        def work(book: Book, row: Row, asked: Mapping[str, Any]) -> web.Response:
            if row["status"] not in ("DRAFT", "SCHEDULED", "CANCELLED"):
                raise InvoiceRefusedError(422, "INVOICE_CANNOT_BE_DELETED")
            del book.invoices[row["id"]]
            return web.Response(status=204)

        return await self._work(request, work)

    async def send(self, request: web.Request) -> web.Response:
        """Send it: at once, or on its day (202)."""

        def work(book: Book, row: Row, asked: Mapping[str, Any]) -> web.Response:
            status = invoices.send(row, asked, self.api.now)
            link = {"rel": "payer-view", "href": f"https://www.sandbox.paypal.com/invoice/p/#{row['id']}"}
            return web.json_response(link, status=status)

        return await self._work(request, work)

    async def record_payment(self, request: web.Request) -> web.Response:
        """Record a payment that was made elsewhere; an invoice that is paid by it is told of by webhook."""
        told: list[Row] = []

        def work(book: Book, row: Row, asked: Mapping[str, Any]) -> web.Response:
            id_ = invoices.record_payment(book, row, asked)
            if row["status"] == "MARKED_AS_PAID":
                told.append(invoices.tell(book, row, "INVOICING.INVOICE.PAID", self.api.now))
            return web.json_response({"payment_id": id_})

        answer = await self._work(request, work)
        for body in told:
            self.api.send(body)
        return answer

    async def record_refund(self, request: web.Request) -> web.Response:
        """Record what was given back elsewhere."""
        return await self._work(
            request,
            lambda book, row, asked: web.json_response({"refund_id": invoices.record_refund(book, row, asked)}),
        )

    async def cancel(self, request: web.Request) -> web.Response:
        """Take a sent invoice back."""

        def work(book: Book, row: Row, asked: Mapping[str, Any]) -> web.Response:
            invoices.cancel(row)
            return web.Response(status=204)

        return await self._work(request, work)

    async def _work(
        self, request: web.Request, work: Callable[[Book, Row, Mapping[str, Any]], web.Response]
    ) -> web.Response:
        asked = await read_json(request)
        try:
            with self.api.keeper.opened() as book:
                row = book.invoices.get(request.match_info["id"])
                if row is None:
                    return error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
                return work(book, row, asked)
        except InvoiceRefusedError as refused:
            return _refusal(refused)


def _refusal(refused: InvoiceRefusedError) -> web.Response:
    names = {400: "INVALID_REQUEST", 404: "RESOURCE_NOT_FOUND"}
    return error(refused.status, names.get(refused.status, "UNPROCESSABLE_ENTITY"), refused.issue)
