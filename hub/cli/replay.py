"""``hub events replay``: the rules and the code of today applied to what came before, seen first and then done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import typer

from hub.cli.opening import looking, opened
from hub.cli.options import ByOption, ReasonOption, actor, as_moment
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.errors import UsageError
from hub.operate.events import EventFilter
from hub.operate.lookup import find_event
from hub.operate.reading import TodaysRules
from hub.operate.replay import Pair, replay
from hub.operate.replay_preview import Corrector, Preview, Rehearsed, chosen, rehearse
from hub.store.store import Store

EVENTS_MAX = 1_000_000
SHOWN_MAX = 1_000


@dataclass(slots=True)
class _Outcome:
    """What was done or would be done, the first pairs in full."""

    pairs: list[Pair]
    unreadable: int = 0
    count: int = 0

    def add(self, pairs: Sequence[Pair]) -> None:
        self.count += len(pairs)
        self.unreadable += sum(one.verdict == "unreadable" for one in pairs)
        self.pairs += pairs[: max(0, SHOWN_MAX - len(self.pairs))]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which events, by their ids or by conditions, and on which routes."""

    ids: tuple[str, ...]
    wanted: EventFilter
    routes: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class _Who:
    """Who does it, and why."""

    by: str
    reason: str


def replay_events(
    *,
    events: Annotated[
        list[str] | None, typer.Argument(metavar="[EVENT_ID...]", help="Ids of events or their beginnings.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Without ids: only events of this source.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this key, such as a customer's id.")] = None,
    tag: Annotated[str | None, typer.Option(help="A business name, as order_code=TOP12345 or its value.")] = None,
    state: Annotated[
        str | None, typer.Option(help="parked, waiting, refused, discarded, applied or unmatched.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="A time (2026-01-31T12:00Z) or how long ago (90m, 2d).")] = None,
    until: Annotated[str | None, typer.Option(help="The end of the time, itself left out.")] = None,
    route: Annotated[list[str] | None, typer.Option(help="Only these routes; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=EVENTS_MAX, help="How many events at most, newest first.")] = 1_000,
    preview_: Annotated[
        bool, typer.Option("--preview", help="Rehearse each event, and compare what is done with today's code.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only say what would be done.")] = False,
    correct_: Annotated[
        bool,
        typer.Option("--correct", help="With --apply: post the difference where today's code would book otherwise."),
    ] = False,
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Route events by today's rules and run what never ran, was parked or refused; what is done is never run again.

    Events are named by their ids, or chosen by conditions. --preview runs today's code in transactions that are rolled
    back: what pairs that would run lead to, and where it would post, publish or call otherwise than was done. Nothing
    outside is ever repeated; --apply --correct posts new entries that name the old ones. Exit 1 when an event still
    cannot be read, a rehearsal fails, or the books refuse a correction, as of an entry that was reversed: the others
    are corrected all the same.

    Example: hub events replay --type order.paid --since 2d --route settle-orders --preview
    """
    who = _Who(by=by, reason=reason)
    choice = run(
        partial(
            _read_choice,
            tuple(events or ()),
            {"source": source, "type": type_, "key": key, "tag": tag, "state": state, "since": since, "until": until},
            tuple(route or ()),
            limit,
        )
    )
    if correct_ and not (apply and reason.strip()):
        run(partial(_refuse, "--correct goes with --apply and --reason"))
    is_seen = preview_ or correct_
    rehearsed = run(partial(_rehearse, choice, who if correct_ else None)) if is_seen else Rehearsed()
    if is_seen:
        _tell_rehearsed(rehearsed, as_json=as_json)
    if is_seen and (rehearsed.summary.failed or not apply):
        raise typer.Exit(EXIT_PROBLEM if rehearsed.summary.failed else 0)
    outcome = run(partial(_route_again, choice, who if apply else None))
    if as_json and not is_seen:
        print_json({"applied": apply, "pairs": outcome.pairs})
    elif not as_json:
        _print_pairs(outcome, apply=apply)
    if outcome.unreadable or rehearsed.refused:
        raise typer.Exit(EXIT_PROBLEM)


async def _read_choice(
    ids: tuple[str, ...], given: Mapping[str, str | None], routes: tuple[str, ...], limit: int
) -> _Choice:
    """What a person chose. Raises UsageError where it is nothing, or two things at once."""
    times = {name: as_moment(given[name], f"--{name}") for name in ("since", "until")}
    wanted = EventFilter(**{**given, **times})  # type: ignore[arg-type]
    if bool(ids) == (wanted != EventFilter()):
        raise UsageError("expected ids of events, or conditions such as --type and --since, and not both")
    return _Choice(ids, wanted, routes, limit)


async def _refuse(message: str) -> None:
    raise UsageError(message)


def _expect_routes(routes: Sequence[str], known: Any) -> None:
    unknown = sorted(set(routes) - set(known))
    if unknown:
        raise UsageError(f"--route: no route is called {', '.join(unknown)}")


async def _named(store: Store, choice: _Choice) -> AsyncIterator[UUID]:
    if choice.ids:
        async with store.reading() as conn:
            found = [await find_event(conn, one) for one in dict.fromkeys(choice.ids)]
        for event_id in dict.fromkeys(found):
            yield event_id
        return
    async for event_id in chosen(store, choice.wanted, limit=choice.limit):
        yield event_id


async def _in_tens(events: AsyncIterator[UUID]) -> AsyncIterator[list[str]]:
    some: list[str] = []
    async for event_id in events:
        some.append(str(event_id))
        if len(some) == 10:
            yield some
            some = []
    if some:
        yield some


async def _route_again(choice: _Choice, who: _Who | None) -> _Outcome:
    """What today's rules make of them; done for ``who``, and only told without."""
    async with looking() as hub:
        rules = TodaysRules(hub.wiring.drafter, await hub.route_ids())
        _expect_routes(choice.routes, rules.route_ids)
        actor_, reason = (actor(who.by), who.reason) if who is not None else ("", "")
        outcome = _Outcome([])
        async for some in _in_tens(_named(hub.store, choice)):
            outcome.add(
                await replay(
                    hub.store,
                    hub.clock,
                    some,
                    rules,
                    apply=who is not None,
                    actor=actor_,
                    reason=reason,
                    routes=choice.routes,
                )
            )
        return outcome


async def _rehearse(choice: _Choice, who: _Who | None) -> Rehearsed:
    """What today's code would do; posted for ``who``, and only told without."""
    async with opened(needs_secrets=False) as hub:
        _expect_routes(choice.routes, hub.rules.route_ids)
        corrector = Corrector(actor(who.by), who.reason) if who is not None else None
        return await rehearse(hub, hub.clock, _named(hub.store, choice), routes=choice.routes, corrector=corrector)


def _tell_rehearsed(done: Rehearsed, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(done))
    else:
        _print_preview(done)


def _as_json(done: Rehearsed) -> dict[str, Any]:
    summary = done.summary
    return {
        "events": summary.events,
        "failed": summary.failed,
        "pairs": [{"route": r, "verdict": v, "count": n} for (r, v), n in sorted(summary.pairs.items())],
        "effects": [{"route": r, "sort": s, "count": n} for (r, s), n in sorted(summary.effects.items())],
        "differences": [
            {"route": r, "sort": s, "what": w, "count": n} for (r, s, w), n in sorted(summary.differing.items())
        ],
        "shown": [_shown(one) for one in summary.shown],
        "not_shown": summary.not_shown,
        "corrected": done.corrected,
        "refused": [{"event_id": name, "why": why} for name, why in done.refused],
    }


def _shown(one: Preview) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "route": one.route,
        "verdict": one.verdict,
        "ending": one.ending,
        "entries": one.entries,
        "messages": one.messages,
        "calls": one.calls,
        "differences": list(one.differences),
    }


def _print_preview(done: Rehearsed) -> None:
    summary, corrected = done.summary, done.corrected
    say(f"{summary.events} events were rehearsed; nothing of it was kept.")
    print_table(
        "Pairs", ["route", "verdict", "count"], [[*name, count] for name, count in sorted(summary.pairs.items())]
    )
    effects = [[*name, count] for name, count in sorted(summary.effects.items()) if count]
    if effects:
        print_table("What would be made", ["route", "what", "count"], effects)
    differing = [[*name, count] for name, count in sorted(summary.differing.items())]
    print_table("Where today's code would do otherwise", ["route", "what", "how", "count"], differing, empty="nowhere")
    rows = [
        [one.event_id, one.route, each.sort, each.what, each.name, each.recorded, each.now]
        for one in summary.shown
        for each in one.differences
    ]
    if rows:
        columns = ["event", "route", "what", "how", "name", "on record", "now"]
        print_table("Differences", columns, rows)
    if summary.not_shown:
        say(f"and {summary.not_shown} more pairs")
    if corrected:
        say(f"Corrected by {len(corrected)} entries: {', '.join(corrected[:20])}{'…' if len(corrected) > 20 else ''}")
    if done.refused:
        print_table("Not corrected", ["event", "why"], [list(one) for one in done.refused])


def _print_pairs(outcome: _Outcome, *, apply: bool) -> None:
    rows = [[one.event_id, one.route, one.verdict, one.state, one.detail] for one in outcome.pairs]
    print_table("Replay", ["event", "route", "verdict", "state", "detail"], rows, empty="no route takes it")
    if outcome.count > len(outcome.pairs):
        say(f"and {outcome.count - len(outcome.pairs)} more")
    if not apply:
        say("Nothing was done. To do it, add --apply.")
