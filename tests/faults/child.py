"""A nursery of hubs that are really killed: ``python -m tests.faults.child``.

Reads one order per line on standard input, ``{"environ": {…}, "place": …, "occurrence": …}`` with place null for a hub
that lives on, and forks a hub for it, which kills itself with SIGKILL when it reaches that point. Writes lines of JSON:
``{"pid": …}`` at birth, ``{"url": …}`` when it listens, ``{"ended": code}`` when it is gone (-9: killed). Forking saves
the imports, which take longer than a life.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hub.app import Hub
from hub.clock import SystemClock
from hub.environment import Environment
from tests.faults.life import surroundings, wiring_once
from tests.faults.seams import Point, Seams

LIFE_S_MAX = 120
"""No hub outlives its tests by more than this."""
SILENT = 50
"""The highest level: what a dying hub says is of no interest."""


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(SILENT))
    for line in sys.stdin:
        order = json.loads(line)
        environ = order["environ"]
        wiring_once(Path(environ["HUB_ROUTING"]), Environment(environ), SystemClock())
        pid = os.fork()
        if pid == 0:
            _be_a_hub(order)
        _say(pid=pid)
        _, status = os.waitpid(pid, 0)
        _say(ended=os.waitstatus_to_exitcode(status))


def _be_a_hub(order: Mapping[str, Any]) -> None:
    signal.alarm(LIFE_S_MAX)
    try:
        asyncio.run(_live(order))
    finally:
        os._exit(1)


async def _live(order: Mapping[str, Any]) -> None:
    point = None if order["place"] is None else Point(order["place"], order["occurrence"])
    seams = Seams(point, strike=partial(os.kill, os.getpid(), signal.SIGKILL))
    with surroundings(seams, is_quiet=point is not None):
        hub = await Hub.open(order["environ"])
        await hub.start()
        assert hub.serving is not None
        _say(url=hub.serving.url)
        await hub.failed.wait()


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
