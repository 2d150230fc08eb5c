"""What the capabilities offer: their tables and files, drawn alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from hub.capability import Capability
from hub.console.addresses import BASE
from hub.console.offered import Asked, EventLink, Mark, OfferedPage, PageLink
from hub.console.visit import Group, Place, Shown, Visit
from hub.errors import UsageError
from hub.ingress.tokens import Role
from hub.money import Money
from hub.operate.acting import record

FILE_BYTES_MAX = 64 * 1024 * 1024


async def show_all(visit: Visit) -> Shown:
    """Every capability with its pages."""
    offers = [(one, one.console) for one in visit.hub.wiring.capabilities.members]
    return Shown("capabilities.html", "Capabilities", {"offers": offers})


async def show(visit: Visit) -> Shown:
    """One page of one capability."""
    capability, page = _find(visit)
    asked = _asked(visit, page)
    table = await page.table(visit.hub.api, asked)
    values: dict[str, Any] = {
        "capability": capability,
        "page": page,
        "asked": asked,
        "table": table,
        "more": f"?{urlencode({**asked, **table.more})}" if table.more is not None else None,
        "kind": kind_of,
        "link": lambda link: _path(capability, link),
    }
    return Shown("offered.html", f"{capability.name}: {page.title}", values)


async def take(visit: Visit) -> web.StreamResponse:
    """A file of a page. That somebody took it is on record."""
    hub, (capability, page) = visit.hub, _find(visit)
    name = visit.place("file")
    if name not in page.files:
        raise web.HTTPNotFound
    file = await page.files[name](hub.api, _asked(visit, page))
    if len(file.body) > FILE_BYTES_MAX:
        raise UsageError(f"the file has {len(file.body)} bytes; take it by the command line")
    target = f"{capability.name}/{page.name}/{name}"
    asked = urlencode(visit.request.query)[:500]
    await hub.store.write(
        lambda conn: record(conn, hub.clock, actor=visit.actor, action="file.taken", target=target, reason=asked)
    )
    disposition = f"attachment; filename*=UTF-8''{quote(file.name, safe='')}"
    return web.Response(body=file.body, content_type=file.content_type, headers={"Content-Disposition": disposition})


def kind_of(cell: object) -> str:
    """How the template writes a cell."""
    match cell:
        case None:
            return "none"
        case Mark():
            return "mark"
        case EventLink():
            return "event"
        case PageLink():
            return "link"
        case Money():
            return "money"
        case datetime():
            return "time"
        case int():
            return "number"
    return "text"


def _find(visit: Visit) -> tuple[Capability, OfferedPage]:
    capability = visit.hub.wiring.capabilities.named(visit.place("capability"))
    pages = capability.console if capability is not None else ()
    page = next((one for one in pages if one.name == visit.place("page")), None)
    if capability is None or page is None:
        raise web.HTTPNotFound
    return capability, page


def _asked(visit: Visit, page: OfferedPage) -> Asked:
    return {name: value for name in visit.request.query if (value := visit.asked(name)) is not None}


def _path(capability: Capability, link: PageLink) -> str:
    path = f"{BASE}/capabilities/{capability.name}/{link.page}"
    path += f"/files/{link.file}" if link.file else ""
    return f"{path}?{urlencode(link.query)}" if link.query else path


_PAGE = "/capabilities/{capability:[a-z0-9_]{1,60}}/{page:[a-z0-9-]{1,60}}"
GROUP = Group(
    "capabilities",
    (
        Place("GET", "/capabilities", show_all),
        Place("GET", _PAGE, show),
        Place("GET", f"{_PAGE}/files/{{file:[a-z0-9-]{{1,60}}}}", take, Role.OPERATOR),
    ),
    label="Capabilities",
    path="/capabilities",
)
