"""Whether messages are what the published description says of them: by the AsyncAPI document alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from sqlalchemy import select

from hub.store import tables as t
from tests.support.running import RunningHub

Judge = Callable[[str, object], list[str]]
"""Says what is wrong with a body of a type."""
ROWS_MAX = 2_000
PER_KIND_MAX = 20
"""How many messages of one kind are looked at: a load has thousands that are alike."""

_known: dict[str, tuple[Mapping[str, Any], Judge]] = {}


def judge_of(document: Mapping[str, Any]) -> Judge:
    """What judges bodies by this document; a type that it does not know is wrong."""
    registry: Registry[Any] = Registry().with_resource("doc:", DRAFT202012.create_resource(dict(document)))
    messages = document["components"]["messages"]
    validators: dict[str, Draft202012Validator] = {}

    def judge(type_: str, data: object) -> list[str]:
        if type_ not in messages:
            return ["nobody has described it"]
        if type_ not in validators:
            schema = json.loads(json.dumps(messages[type_]["payload"]).replace('"#/', '"doc:#/'))
            checker = Draft202012Validator.FORMAT_CHECKER
            validators[type_] = Draft202012Validator(schema, registry=registry, format_checker=checker)
        return [f"{error.json_path}: {error.message}" for error in validators[type_].iter_errors(data)]

    return judge


async def strange_messages(hub: RunningHub) -> list[str]:
    """What the hub has put into its outbox that is not as it is published, a few of each kind."""
    document, judge = _published_by(hub)
    query = select(t.outbox).order_by(t.outbox.c.seq).limit(ROWS_MAX)
    async with hub.hub.store.reading() as conn:
        rows = (await conn.execute(query)).all()
    seen: Counter[str] = Counter()
    wrong = []
    for row in rows:
        there = document["channels"][f"destination.{row.destination}"]["messages"]
        seen[row.routing_key] += 1
        if seen[row.routing_key] > PER_KIND_MAX or (row.routing_key not in there and "any" in there):
            continue
        problems = judge(row.routing_key, json.loads(row.payload)) if row.routing_key in there else ["not described"]
        wrong += [f"{row.destination}, {row.routing_key}: {problem}" for problem in problems]
    return wrong


def _published_by(hub: RunningHub) -> tuple[Mapping[str, Any], Judge]:
    """Made once for each routing.yaml: all scenarios share one."""
    wiring = hub.hub.wiring
    key = wiring.config.model_dump_json()
    if key not in _known:
        _known[key] = (wiring.published.asyncapi, judge_of(wiring.published.asyncapi))
    return _known[key]
