"""``hub sandbox paypay``: PayPay played on this machine, and what its users do there.

Source: docs/providers/paypay.md, "Sandbox".
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import aiohttp.client
import typer

from handlers.paypay.sandbox_faults import ALL, FAULTS, chances_of
from handlers.paypay.sandbox_serving import options_of, sandbox_file, serving
from handlers.paypay.settings import PayPaySettings
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.environment import Environment
from hub.errors import UsageError
from hub.settings import read_settings

PORT: Final = 8090
ASK_S_MAX: Final = 10.0

sandbox_cli = typer.Typer(
    invoke_without_command=True, help="Play PayPay: a server that behaves like it, or misbehaves."
)

UrlOption = Annotated[str | None, typer.Option(help="Where the sandbox is; default: where the hub calls PayPay.")]


@sandbox_cli.callback()
def serve(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 = any free one.")] = PORT,
    hub_url: Annotated[str, typer.Option(help="Whom to notify; empty = nobody.")] = "http://127.0.0.1:8080",
    fault: Annotated[
        list[str] | None, typer.Option(help=f"NAME=CHANCE, repeatable: {ALL}, {', '.join(FAULTS)}.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same requests meet the same faults.")] = None,
    latency_ms: Annotated[float, typer.Option(min=0, max=60_000, help="How long PayPay takes over a call.")] = 0.0,
    decides_s: Annotated[float, typer.Option(min=0, help="Until what was accepted is decided.")] = 1.0,
    shows_s: Annotated[float, typer.Option(min=0, help="Until a read shows what was accepted.")] = 0.0,
    hang_s: Annotated[float, typer.Option(min=0, help="How long a call hangs that never gets an answer.")] = 60.0,
    late_s: Annotated[float, typer.Option(min=0, help="How late a late notification is.")] = 30.0,
    wallet: Annotated[int | None, typer.Option(min=0, help="Yen in the campaign wallet; default: no end.")] = None,
    refunds: Annotated[int, typer.Option(min=1, help="Refunds per payment.")] = 1,
    rate: Annotated[int, typer.Option(min=0, help="Calls per second before 429; 0 = any number.")] = 0,
    strict_nonce: Annotated[bool, typer.Option("--strict-nonce", help="Refuse a nonce that was used before.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the books in HUB_HOME, for the next start.")] = False,
) -> None:
    """Serve a PayPay until it is stopped; the hub finds it with PAYPAY_BASE_URL.

    It knows the key of the hub with the same HUB_HOME and environment.

    Example: hub sandbox paypay --port 8090 --fault timeout-after-commit=0.2
    """
    if context.invoked_subcommand is not None:
        return

    async def work() -> None:
        environment = _environment()
        options = replace(
            options_of(read_settings(PayPaySettings, environment)),
            hub_url=hub_url.rstrip("/"),
            file=sandbox_file(environment.home) if keep else None,
            latency_s=latency_ms / 1000,
            hang_s=hang_s,
            late_s=late_s,
            shows_s=shows_s,
            decides_s=decides_s,
            wallet_jpy=wallet,
            refunds_max=refunds,
            rate_per_s_max=rate,
            strict_nonce=strict_nonce,
            chances=chances_of(fault or []),
            seed=seed,
        )
        stopping = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stopping.set)
        async with serving(options, host=host, port=port) as (_, url):
            say(f"PayPay is at {url}; start the hub with PAYPAY_BASE_URL={url}")
            await stopping.wait()

    run(work)


@sandbox_cli.command("login")
def log_in(
    link: Annotated[str, typer.Argument(help="The address of a link, or its id.")],
    *,
    decline: Annotated[bool, typer.Option("--decline", help="The user does not agree.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play a user who logs in at the page of a link; prints the token that the shop gets."""
    body = {"result": "declined" if decline else "succeeded"}
    done = _ask("POST", f"links/{_last(link)}", body, url or _before(link, "/link/"))
    if as_json:
        print_json(done)
    else:
        say(done["responseToken"])


@sandbox_cli.command("pay")
def pay(
    code: Annotated[str, typer.Argument(help="The id of a code, or the address behind it.")],
    *,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play a user who scans a QR code and pays."""
    done = _ask("POST", f"codes/{_last(code)}/pay", {}, url or _before(code, "/pay/"))
    if as_json:
        print_json(done)
    else:
        say(f"Paid {done['amount_jpy']:,} JPY: {done['status']}, payment {done['payment_id']}")


@sandbox_cli.command("fault")
def order_fault(
    name: Annotated[str | None, typer.Argument(help="What is to go wrong; without it, what can and what has.")] = None,
    *,
    times: Annotated[int, typer.Option(min=1, help="With so many requests.")] = 1,
    path: Annotated[str, typer.Option(help="Only where the path begins so, such as /v2/cashback.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Nothing goes wrong any more.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Order a fault for the next requests to a running sandbox."""
    if clear:
        shown = _ask("DELETE", "faults", {}, url)
    elif name is not None:
        shown = _ask("POST", "faults", {"fault": name, "times": times, "path": path}, url)
    else:
        shown = _ask("GET", "faults", {}, url)
    if as_json:
        print_json(shown)
        return
    ordered = {order["fault"]: order["times"] for order in shown["orders"]}
    rows = [
        [fault, shown["chances"].get(fault), ordered.get(fault), shown["happened"].get(fault, 0), what]
        for fault, what in shown["known"].items()
    ]
    print_table("Faults", ["fault", "chance", "ordered", "happened", "what"], rows)


@sandbox_cli.command("books")
def show_books(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show what a running sandbox has given, taken back and been paid."""
    books = _ask("GET", "books", {}, url)
    if as_json:
        print_json(books)
        return
    rows = [
        [kind, one["id"], one["status"], one.get("amount_jpy", one.get("taken_jpy"))]
        for kind in ("cashbacks", "reversals", "payments", "refunds")
        for one in books[kind]
    ]
    print_table(f"{books['granted_jpy']:,} JPY given", ["kind", "id", "status", "yen"], rows)


@sandbox_cli.command("file")
def make_file(
    *,
    kind: Annotated[str, typer.Option(help="transaction, or preauth_transaction.")] = "transaction",
    day: Annotated[str | None, typer.Option(help="A day in Japan, YYYY-MM-DD; default: today.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a transaction file made, and the hub notified of it."""
    body = {"kind": kind} if day is None else {"kind": kind, "day": day}
    made = _ask("POST", "files", body, url)
    if as_json:
        print_json(made)
    else:
        say(f"{made['name']}: {made['bytes']} bytes")


def _ask(method: str, path: str, body: Mapping[str, Any], url: str | None) -> Any:
    """Ask a running sandbox. Raises UsageError where it says no, or is not there."""
    base = (url or _settings_url()).rstrip("/")

    async def work() -> Any:
        try:
            async with (
                asyncio.timeout(ASK_S_MAX),
                aiohttp.ClientSession() as http,
                http.request(method, f"{base}/admin/{path}", json=body) as response,
            ):
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UsageError(f"no sandbox answers at {base} ({type(error).__name__})") from error
        if response.status != 200 or not isinstance(answer, dict):
            said = answer.get("error") if isinstance(answer, dict) else None
            raise UsageError(f"the sandbox at {base} says no: {said or response.status}")
        return answer

    return run(work)


def _environment() -> Environment:
    """This process's, as a sandbox: its secrets are those of the hub with the same home."""
    return Environment({**os.environ, "HUB_SANDBOX": "1"})


def _settings_url() -> str:
    settings = read_settings(PayPaySettings, _environment())
    return settings.url or f"http://127.0.0.1:{PORT}"


def _last(text: str) -> str:
    return urlsplit(text).path.rstrip("/").rsplit("/", 1)[-1]


def _before(text: str, mark: str) -> str | None:
    """The part of an address before its mark; None where there is no address."""
    return text.partition(mark)[0] if "://" in text and mark in text else None
