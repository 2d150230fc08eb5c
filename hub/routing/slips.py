"""Looks for rules that say something else than their author meant."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Final

from hub.errors import Problem
from hub.routing.conditions import Condition
from hub.routing.config import RouteConfig, RoutingConfig
from hub.routing.fields import RESERVED_SOURCES, SCHEDULE_PREFIX
from hub.routing.load import LoadedRouting
from hub.routing.names import Finding
from hub.routing.patterns import PatternIndex, covers, is_literal
from hub.routing.reach import common_type, reaches, source_names
from hub.routing.yamltext import Loc

PAIRS_MAX: Final = 20_000
"""How many pairs of routes are compared; above that a file is too large to find accidents by pairs."""

_LOOK_ALIKES: Final = dict(
    zip(
        "асеорхуіјѕԁһԛԝАВЕКМНОРСТХІЈЅУαοερνικτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ‐‑‒–—−",
        "aceopxyijsdhqwABEKMHOPCTXIJSYaoepviktuABEZHIKMNOPTYX------",
        strict=True,
    )
)


def find_slips(loaded: LoadedRouting, emitted: Iterable[str] | None = None) -> list[Problem]:
    """Warnings about rules that can never match, overlap by accident, go round in circles or hold foreign letters."""
    config = loaded.config
    inside = tuple(emitted) if emitted is not None else None
    findings = [
        *_unreachable(config, inside),
        *_unheard(config),
        *_constant_conditions(config),
        *_repeated_patterns(config),
        *_overlaps(config),
        *_circles(config),
        *_foreign_letters(config),
    ]
    return [loaded.problem(finding.loc, finding.message, at_key=finding.at_key) for finding in findings]


def _unreachable(config: RoutingConfig, emitted: tuple[str, ...] | None) -> Iterator[Finding]:
    renamed = {old: (name, new) for name, source in config.sources.items() for old, new in source.event.rename.items()}
    names = source_names(config)
    for number, route in enumerate(config.routes):
        for place, pattern in enumerate(route.match):
            loc: Loc = ("routes", number, "match", place)
            alone = route.model_copy(update={"match": (pattern,)})
            able = [name for name in names if reaches(config, name, alone, emitted) is not None]
            if pattern in renamed and set(able) <= {renamed[pattern][0], *RESERVED_SOURCES}:
                source, new = renamed[pattern]
                yield Finding(loc, f"this can never match: the source {source!r} renames {pattern!r} to {new!r}")
            elif not able:
                who = " or ".join(map(repr, route.source)) if route.source else "no source"
                says = f"{who} cannot send" if route.source else f"{who} can send"
                yield Finding(loc, f"this can never match: {says} an event of type {pattern!r}")


def _unheard(config: RoutingConfig) -> Iterator[Finding]:
    enabled = [route for route in config.routes if not route.disabled]
    for name in [*config.sources, *(SCHEDULE_PREFIX + name for name in config.schedules)]:
        if not any(reaches(config, name, route) for route in enabled):
            schedule = name.removeprefix(SCHEDULE_PREFIX)
            loc: Loc = ("sources", name) if schedule == name else ("schedules", schedule)
            yield Finding(loc, f"no route takes what {name!r} sends: its events would all be unmatched", at_key=True)


def _constant_conditions(config: RoutingConfig) -> Iterator[Finding]:
    for number, route in enumerate(config.routes):
        constant = Condition.compile(route.when).constant if route.when is not None else None
        if constant is not None:
            effect = "the condition says nothing" if constant else "the route can never match"
            yield Finding(("routes", number, "when"), f"this is always {str(constant).lower()}: {effect}")


def _repeated_patterns(config: RoutingConfig) -> Iterator[Finding]:
    for number, route in enumerate(config.routes):
        wide = [pattern for pattern in dict.fromkeys(route.match) if not is_literal(pattern)]
        for place, pattern in enumerate(route.match):
            loc: Loc = ("routes", number, "match", place)
            if pattern in route.match[:place]:
                yield Finding(loc, f"the pattern {pattern!r} stands twice in this list")
                continue
            wider = next((other for other in wide if other != pattern and covers(other, pattern)), None)
            if wider is not None:
                yield Finding(loc, f"the pattern {pattern!r} adds nothing: {wider!r} matches all of it already")


def _overlaps(config: RoutingConfig) -> Iterator[Finding]:
    compared = 0
    for target, numbers in _by_target(config).items():
        for first, second in _candidates(config, numbers):
            compared += 1
            if compared > PAIRS_MAX:
                yield Finding(("routes",), f"only the first {PAIRS_MAX} pairs of routes were compared for overlaps")
                return
            one, other = config.routes[first], config.routes[second]
            type_ = common_type(one.match, other.match) if _may_meet(one, other) else None
            if type_ is not None:
                message = f"an event of type {type_!r} reaches {target} twice: the route {one.name!r} matches it too"
                yield Finding(("routes", second, "match"), message)


def _by_target(config: RoutingConfig) -> dict[str, list[int]]:
    # A handler decides itself what it publishes: two handlers with one destination are no accident.
    targets: dict[str, list[int]] = defaultdict(list)
    for number, route in enumerate(config.routes):
        if route.disabled:
            continue
        if route.handle is not None:
            targets[f"the handler {route.handle}"].append(number)
        else:
            for name in dict.fromkeys(route.publish):
                targets[f"the exchange {config.destinations[name].exchange_name}"].append(number)
    return targets


def _candidates(config: RoutingConfig, numbers: list[int]) -> Iterator[tuple[int, int]]:
    # Fixed types meet through the index; only pairs of real patterns have to be compared one by one.
    index = PatternIndex([config.routes[number].match for number in numbers])
    pairs: set[tuple[int, int]] = set()
    wide = []
    for at, number in enumerate(numbers):
        if not all(map(is_literal, config.routes[number].match)):
            wide.append(number)
        for pattern in filter(is_literal, config.routes[number].match):
            pairs.update(tuple(sorted((number, numbers[met]))) for met in index.match(pattern) if met != at)  # type: ignore[misc]
    yield from sorted(pairs | set(combinations(wide, 2)))


def _may_meet(one: RouteConfig, other: RouteConfig) -> bool:
    if one.source and other.source and not set(one.source) & set(other.source):
        return False
    if one.handle is not None and one.options != other.options:
        return False  # one handler, told two different things: that is meant
    # Two different conditions may well exclude each other; that cannot be decided here.
    return one.when is None or other.when is None or one.when == other.when


def _circles(config: RoutingConfig) -> Iterator[Finding]:
    readers = {source.queue.name: name for name, source in config.sources.items() if source.queue is not None}
    for number, route in enumerate(config.routes):
        if route.handle is not None or route.disabled:
            continue
        for place, destination in enumerate(route.publish):
            for queue in config.destinations[destination].bindings:
                source = readers.get(queue)
                if source is not None and reaches(config, source, route) is not None:
                    message = f"events go round in a circle: the source {source!r} reads the queue {queue!r} again"
                    yield Finding(("routes", number, "publish", place), message)


def _foreign_letters(config: RoutingConfig) -> Iterator[Finding]:
    # The left side of a source's ``rename`` and what it binds hold what the sender really writes: no warning there.
    places: list[tuple[Loc, str]] = []
    for number, route in enumerate(config.routes):
        places += [(("routes", number, "match", place), pattern) for place, pattern in enumerate(route.match)]
    for name, source in config.sources.items():
        places += [(("sources", name, "event", "rename", old), new) for old, new in source.event.rename.items()]
        places.append((("sources", name, "event", "type"), source.event.fixed_type or ""))
    for name, destination in config.destinations.items():
        for queue, patterns in destination.bind.items():
            places += [(("destinations", name, "bind", queue, at), text) for at, text in enumerate(patterns)]
    places += [(("schedules", name, "emit"), schedule.emit) for name, schedule in config.schedules.items()]
    for loc, text in places:
        foreign = [letter for letter in dict.fromkeys(text) if not letter.isascii()]
        if foreign:
            yield Finding(loc, f"{text!r} holds {'; '.join(map(_described, foreign))}")


def _described(letter: str) -> str:
    named = f"{letter!r} (U+{ord(letter):04X}, {unicodedata.name(letter, 'no name').lower()})"
    plain = _LOOK_ALIKES.get(letter) or unicodedata.normalize("NFKD", letter)[0]
    return f"{named}, which looks like the ASCII {plain!r}" if plain.isascii() else named
