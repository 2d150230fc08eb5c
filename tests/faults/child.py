"""A nursery of hubs that are really killed: ``python -m tests.faults.child``.

Reads one order per line on standard input, ``{"life": …, "environ": {…}, …}`` (``Order`` in ``nursery.py``), and forks
a hub for it. Writes lines of JSON, each with the number of the ``life``: ``{"pid": …}`` at birth, ``{"url": …}`` when
it listens, ``{"struck": true}`` when it has failed at its point and lives on, ``{"ended": code}`` when it is gone (-9:
killed). Forking saves the imports, which take longer than a life.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hub.app import Hub
from hub.calls import record
from hub.clock import Clock, SystemClock
from hub.environment import Environment
from tests.faults.flows.flying import clock_for, flying
from tests.faults.life import surroundings, wiring_once
from tests.faults.rabbit_seams import Slip, busy_surroundings
from tests.faults.seams import Point, Seams
from tests.support.clock import FastClock

SILENT = 50
"""The highest level: what a dying hub says is of no interest."""
STOP_S_MAX = 10.0
PR_SET_PDEATHSIG = 1


def main() -> None:
    level = int(os.environ.get("HUB_TEST_LOG_LEVEL", SILENT))
    # A line for a person who looks into one run; nothing else may be written where the harness listens.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    for line in sys.stdin:
        order = json.loads(line)
        environ = order["environ"]
        wiring_once(Path(environ["HUB_ROUTING"]), Environment(environ), SystemClock())
        if os.fork() == 0:
            _attend(order)
        _forget_the_dead()


def _attend(order: Mapping[str, Any]) -> None:
    """In a process between: tell of one hub's birth and end."""
    _die_with_the_parent()
    pid = os.fork()
    if pid == 0:
        _be_a_hub(order)
    _say(order, pid=pid)
    _, status = os.waitpid(pid, 0)
    _say(order, ended=os.waitstatus_to_exitcode(status))
    os._exit(0)


def _forget_the_dead() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _die_with_the_parent() -> None:
    """When whoever listens is killed, nobody is left behind. Elsewhere than on Linux the alarm does it, later."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _be_a_hub(order: Mapping[str, Any]) -> None:
    _die_with_the_parent()
    signal.alarm(order["life_s_max"])
    code = 1
    try:
        code = asyncio.run(_live(order))
    except BaseException:
        # Shown where the test fails: it never ends like this by itself.
        traceback.print_exc()
    os._exit(code)


async def _live(order: Mapping[str, Any]) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    with _around(order) as seams, flying(order["environ"]):
        hub = await Hub.open(order["environ"], clock=_clock(order))
        opened = len(seams.reached)
        await hub.start()
        assert hub.serving is not None
        _say(order, url=hub.serving.url)
        failed, stopped = (asyncio.ensure_future(one.wait()) for one in (hub.failed, stopping))
        await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if hub.failed.is_set():
            return 1
        await hub.stop(STOP_S_MAX)
        if order["points_file"]:
            _write_points(Path(order["points_file"]), seams, opened)
    return 0


def _around(order: Mapping[str, Any]) -> AbstractContextManager[Seams]:
    """What this hub lives in: for the embedded broker's trials, for RabbitMQ's, or nothing special."""
    point = None if order["place"] is None else Point(order["place"], order["occurrence"])
    kill = partial(os.kill, os.getpid(), signal.SIGKILL)
    match order["scene"]:
        case "plain":
            return nullcontext(Seams())
        case "rabbit":
            seams = Slip(point, partial(_say, order, struck=True)) if order["lives_on"] else Seams(point, strike=kill)
            return busy_surroundings(seams, is_quiet=order["is_quiet"])
        case _:
            return surroundings(Seams(point, strike=kill), is_quiet=point is not None)


def _clock(order: Mapping[str, Any]) -> Clock:
    speed: float = order["speed"]
    if speed == 1.0:
        return clock_for(order["environ"])
    # A commit takes as long as ever: by this clock every process would seem to have stood still at each.
    record.STOPPED_S_MAX *= speed
    return FastClock(speed, order["started_s"])


def _write_points(file: Path, seams: Seams, opened: int) -> None:
    """Those reached while the hub was opened, and those after."""
    points = [[point.place, point.occurrence] for point in seams.reached]
    file.write_text(json.dumps([points[:opened], points[opened:]]))


def _say(order: Mapping[str, Any], **fields: object) -> None:
    # One short write: several hubs share the pipe.
    os.write(sys.stdout.fileno(), (json.dumps({"life": order["life"], **fields}) + "\n").encode())


if __name__ == "__main__":
    main()
