"""``hub doctor``: what is wrong with a webhook, and whether a capability's provider can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperCommand
from typer.main import get_command

from hub.capability import CheckResult
from hub.cli.glimpse import Glimpse, Glimpses, load_part
from hub.cli.lazy import CapabilityGroup, LazyCommand, new_group
from hub.cli.opening import load_rules, opened
from hub.cli.options import HeaderOption, as_headers, read_file
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.clock import SystemClock
from hub.errors import UsageError
from hub.ingress.authentication import Request
from hub.ingress.doctor import Finding, diagnose
from hub.ingress.endpoints import auth_values
from hub.routing.fields import nearest


def build_group() -> CapabilityGroup:
    """The group, with what the capabilities of routing.yaml bring now."""
    return CapabilityGroup(
        more=_capabilities,
        name="doctor",
        commands={"webhook": _webhook_command()},
        help="Find out what is wrong with a webhook or with a provider's access.",
        no_args_is_help=True,
    )


def webhook(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source that takes webhooks.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The body exactly as it was sent; - for standard input.")],
    header: HeaderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which secret, header, encoding or clock is at fault when a webhook is refused; exit 1 when it would be.

    Secrets are named by their number and never shown.

    Example: hub doctor webhook shop body.json --header "Authorization=Bearer …"
    """
    findings = run(lambda: _diagnose(source, file, as_headers(header)))
    is_accepted = bool(findings) and findings[-1].ok
    if as_json:
        print_json({"ok": is_accepted, "findings": findings})
    else:
        for finding in findings:
            say(("ok     " if finding.ok else "change ") + finding.text)
    if not is_accepted:
        raise typer.Exit(EXIT_PROBLEM)


async def _diagnose(source: str, file: str, headers: dict[str, str]) -> list[Finding]:
    _, _, wiring = load_rules(needs_secrets=True)
    takers = {name: one.webhook for name, one in wiring.config.sources.items() if one.webhook is not None}
    taker = takers.get(source)
    if taker is None:
        raise UsageError(f"there is no source {source!r} that takes webhooks; {nearest(source, takers)}")
    request = Request(method="POST", path=taker.path, headers=headers, body=read_file(file))
    return diagnose(auth_values(taker), request, SystemClock().now(), wiring.capabilities.schemes)


def _capabilities(glimpses: Glimpses) -> Sequence[TyperCommand]:
    return [_capability(one) for one in glimpses.members if one.has_checks]


def _capability(glimpse: Glimpse) -> TyperCommand:
    def examine(as_json: JsonOption = False) -> None:
        results = run(lambda: _checks(glimpse))
        if as_json:
            print_json(results)
        else:
            rows = [["ok" if one.ok else "WRONG", one.name, one.detail] for one in results]
            print_table(f"Checks of {glimpse.name}", ["", "check", "detail"], rows)
        if not all(one.ok for one in results):
            raise typer.Exit(EXIT_PROBLEM)

    examine.__doc__ = (
        f"Ask whether {glimpse.name} is set up and reachable; exit 1 when not.\n\nExample: hub doctor {glimpse.name}"
    )

    def load() -> object:
        single = new_group()
        single.command(glimpse.name)(examine)
        return get_command(single)

    return LazyCommand(glimpse.name, f"Ask whether {glimpse.name} is set up and reachable.", load)


async def _checks(glimpse: Glimpse) -> Sequence[CheckResult]:
    checks = load_part(glimpse, "checks")
    if checks is None:
        raise UsageError(f"the capability {glimpse.name} brings no checks")
    async with opened() as hub:
        results: Sequence[CheckResult] = await checks(hub.api)
        return results


def _webhook_command() -> TyperCommand:
    single = new_group()
    single.command("webhook")(webhook)
    command = get_command(single)
    assert isinstance(command, TyperCommand)
    return command
