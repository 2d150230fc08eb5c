"""``hub providers``: whom the handlers call, and how it is with each."""

from __future__ import annotations

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run
from hub.operate.pausing import ProviderView, list_providers

group = new_group("Whom the handlers call, and how it is with each.")


@group.callback()
def _group() -> None:
    # With a single command a group would be that command.
    pass


@group.command("list")
def show_providers(as_json: JsonOption = False) -> None:
    """List the providers: working, paused, circuit open or half open; why, and what waits. Exit 1 unless all work.

    Example: hub providers list
    """

    async def work() -> list[ProviderView]:
        async with looking() as hub:
            numbers = await hub.route_ids()
            routes: dict[str, list[int]] = {name: [] for name in hub.wiring.capabilities.providers}
            for route in hub.wiring.config.routes:
                spec = hub.wiring.capabilities.handlers.get(route.handle or "")
                if spec is not None and spec.provider is not None:
                    routes[spec.provider].append(numbers[route.name])
            return await list_providers(hub.store, hub.clock, routes, hub.wiring.providers)

    found = run(work)
    if as_json:
        print_json(found)
    else:
        columns = ["provider", "state", "until", "in flight", "per second", "waiting", "undecided", "because"]
        rows = [
            [
                one.name,
                one.state,
                one.until,
                one.in_flight_max,
                one.per_second,
                one.waiting,
                one.undecided,
                one.because,
            ]
            for one in found
        ]
        print_table("Providers", columns, rows, empty="no handler calls one")
    if any(one.state != "working" for one in found):
        raise typer.Exit(EXIT_PROBLEM)
