"""Heads and forms that fail where somebody takes them apart: at the console's door, and where SePay gets its token."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

from tests.hostile.http.bodies import BODIES
from tests.integration.console.conftest import cheap_hashes
from tests.support.running import RunningHub, environment, running

__all__ = ["cheap_hashes"]

FORM: Final = "application/x-www-form-urlencoded"
TOKEN: Final = "/api/sepay/oauth/token"
HEADS: Final[dict[str, dict[str, str]]] = {
    "a host that is none": {"Host": "["},
    "a host with a bracket too many": {"Host": "[::1]]:80"},
    "an empty host": {"Host": ""},
    "a host with two ports": {"Host": "a:1:2"},
    "an origin that is none": {"Origin": "http://["},
    "a site that is none": {"Sec-Fetch-Site": "\u00ff"},
    "a proof that is no base64": {"Authorization": "Basic \u00ff\u00fe"},
    "a proof of bytes that are no text": {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
    "a proof without a name": {"Authorization": "Basic " + base64.b64encode(b"").decode()},
    "a proof of another kind": {"Authorization": "Digest " + "a" * 5_000},
    "cookies that are none": {"Cookie": '=; =;;; hub_console="\\'},
    "a cookie of control characters": {"Cookie": "hub_console_done=%00%0d%0aX:%20y; hub_console=%ff"},
    "a forwarded address that is none": {"X-Forwarded-For": ", ,[,::ffff:1.2.3.4.5"},
}
FORMS: Final[dict[str, tuple[str, bytes]]] = {
    "no text": (FORM, b"\xff\xfe=\xff"),
    "encoded bytes that are no text": (FORM, b"name=%ff%00&password=%ed%a0%80&key=%c0%af&next=%0d%0a"),
    "percent signs": (FORM, b"name=%&password=%zz%"),
    "too many fields": (FORM, b"&".join(b"f%d=1" % number for number in range(5_000))),
    "names without end": (FORM, b"a" * 500_000),
    "an unknown charset": (f"{FORM}; charset=klingon", b"name=a"),
    "a charset that is no text": (f"{FORM}; charset=base64", b"name=a"),
    "a charset that shifts": (f"{FORM}; charset=utf-7", b"name=+AAA-"),
    "a file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="name"; filename="a"\r\n\r\n1\r\n--b--\r\n',
    ),
}


SMALL: Final = 2_000


async def test_heads_and_forms_that_cannot_be_taken_apart_are_the_senders_fault(tmp_path: Path) -> None:
    more = {"HUB_CONSOLE": "on", "HUB_CONSOLE_PASSWORD": "a long enough password", "HUB_SANDBOX": "0"}
    async with running(environment(tmp_path, **more)) as hub:
        wrong = await answered(hub)
        async with hub.http.get(f"{hub.url}/console/login") as response:
            assert response.status == 200

    assert wrong == []


async def answered(hub: RunningHub) -> list[tuple[str, str, int]]:
    """What was answered otherwise than with a page or with a refusal."""
    wrong: list[tuple[str, str, int]] = []

    async def ask(name: str, method: str, path: str, **more: Any) -> None:
        async with hub.http.request(method, hub.url + path, allow_redirects=False, **more) as response:
            is_let_in = path == TOKEN and response.status < 400
            if response.status >= 500 or is_let_in:
                wrong.append((name, path, response.status))

    for name, head in HEADS.items():
        await ask(name, "GET", "/console/events?q=%00", headers=head)
        await ask(name, "POST", "/console/login", headers={"Content-Type": FORM} | head, data=b"name=admin&password=x")
        await ask(name, "POST", TOKEN, headers={"Content-Type": FORM} | head, data=b"grant_type=client_credentials")
    for name, (kind, body) in FORMS.items():
        for path in ("/console/login", "/console/logout", TOKEN):
            await ask(name, "POST", path, headers={"Content-Type": kind}, data=body)
    for name, (kind, body) in BODIES.items():
        if len(body) < SMALL or name.endswith("deep"):
            await ask(name, "POST", TOKEN, headers={"Content-Type": kind}, data=body)
    return wrong
