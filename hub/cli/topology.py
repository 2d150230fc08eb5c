"""``hub topology``: compare what routing.yaml asks of the broker with what it has, and declare it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import Look, looking
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.errors import UsageError
from hub.transports import PlanItem, Planner, PlanState, Transport, open_transport, topology_of

group = new_group("Compare and declare the exchanges, queues and bindings of routing.yaml.")

WORDS = {
    PlanState.MATCHES: "as it should be",
    PlanState.MISSING: "would be made",
    PlanState.DIFFERS: "differs: a person must decide",
    PlanState.STALE: "would be taken away",
}


@group.command("plan")
def plan(as_json: JsonOption = False) -> None:
    """Say what would be declared and taken away, and change nothing; exit 1 when the broker has something else.

    Example: hub topology plan
    """

    async def work() -> list[PlanItem]:
        async with looking() as hub, _transport(hub) as transport:
            if not isinstance(transport, Planner):
                raise UsageError("this broker is checked when the hub starts, or by hub topology apply")
            return await transport.plan(topology_of(hub.wiring.config))

    _show(run(work), as_json)


@group.command("apply")
def apply(as_json: JsonOption = False) -> None:
    """Declare everything now, and take away what former rules have bound; exit 2 where the broker has something else.

    Example: hub topology apply
    """

    async def work() -> list[PlanItem]:
        async with looking() as hub, _transport(hub) as transport:
            topology = topology_of(hub.wiring.config)
            await transport.declare(topology, takes_away=True)
            return await transport.plan(topology) if isinstance(transport, Planner) else []

    items = run(work)
    if items or as_json:
        _show(items, as_json)
    else:
        say("Declared.")


def _show(items: Sequence[PlanItem], as_json: bool) -> None:
    if as_json:
        print_json(items)
    else:
        rows = [[one.kind, one.name, WORDS[one.state], one.detail] for one in items]
        print_table("Topology", ["what", "name", "state", "detail"], rows, empty="routing.yaml names nothing")
    if any(one.state is PlanState.DIFFERS for one in items):
        raise typer.Exit(EXIT_PROBLEM)


@asynccontextmanager
async def _transport(hub: Look) -> AsyncIterator[Transport]:
    transport = open_transport(hub.settings.broker, hub.store, hub.clock)
    try:
        yield transport
    finally:
        await transport.close()
