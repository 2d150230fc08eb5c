"""``hub run``: the daemon. Says where it listens and what to try.

It stops in order on SIGTERM, refreshes on SIGUSR1 and at the instants of HUB_REFRESH, reloads on SIGHUP.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import structlog
import typer
from prometheus_client import Gauge
from sqlalchemy import select
from sqlalchemy.engine import make_url

from hub import tracing
from hub.addresses import CONSOLE
from hub.app import ROLES, Hub
from hub.cli.descriptors import raise_descriptors
from hub.cli.interpreter import settle_interpreter
from hub.cli.lock import HomeLock
from hub.cli.logs import set_up_logs
from hub.cli.output import EXIT_PROBLEM, run
from hub.cli.refresh import Refresh
from hub.cli.supervisor import Leash, Supervisor
from hub.clock import SystemClock
from hub.errors import ConfigError, StoreUnavailableError
from hub.ingress.processes import Processes
from hub.ingress.server import bind, is_number
from hub.plan import Plan
from hub.settings import load_settings
from hub.signal import is_set_within
from hub.store.words import words_for_logs

AGAIN_S = 1.0
"""How long a hub that could not come up again after a refresh waits before it tries once more."""

REFUSED = Gauge(
    "hub_rules_refused",
    "1 while the hub goes by earlier settings and rules, because it could not take over the present ones",
)

log = structlog.get_logger(__name__)


def run_command(
    role: Annotated[
        list[str] | None, typer.Option("--role", help=f"Run only these parts: {', '.join(ROLES)}. Default: all.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="So many processes side by side. More than one needs PostgreSQL.")
    ] = 1,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_json: Annotated[bool | None, typer.Option("--log-json/--log-pretty", help="Default: by the terminal.")] = None,
    leash: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the hub until it is told to stop."""
    set_up_logs(level=log_level, as_json=log_json)
    raise_descriptors()
    roles = tuple(role or ROLES)
    if workers > 1:
        code = run(lambda: _supervise(roles, workers, log_level=log_level, log_json=log_json))
    else:
        code = run(lambda: _serve(roles, Leash.read(leash) if leash is not None else None))
    # The loops have ended and everything is written. A handler that refuses to die must not keep the process alive.
    os._exit(code)


def _check_roles(roles: tuple[str, ...]) -> None:
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise ConfigError(f"--role: expected some of {', '.join(ROLES)}, found {', '.join(unknown)}")


async def _supervise(roles: tuple[str, ...], workers: int, *, log_level: str, log_json: bool | None) -> int:
    _check_roles(roles)
    settings = load_settings(os.environ)
    if make_url(settings.database).get_backend_name() == "sqlite":
        raise ConfigError(f"--workers: expected 1 on this database, found {workers}: SQLite has one writer")
    arguments = [part for one in roles for part in ("--role", one)] + ["--log-level", log_level]
    if log_json is not None:
        arguments.append("--log-json" if log_json else "--log-pretty")
    # Bound here, so that the port is known before the first child lives and stays taken while one is started again.
    listening = bind(settings.host, settings.port) if "ingress" in roles else None
    supervisor = Supervisor(workers, arguments, listening=listening, deadline_s=settings.stop_deadline_s)
    return await supervisor.run()


async def _serve(roles: tuple[str, ...], leash: Leash | None) -> int:
    _check_roles(roles)
    stopping = asyncio.Event()
    if leash is not None:
        leash.on_cut(stopping)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    settings = load_settings(os.environ)
    lock = HomeLock(settings.home, make_url(settings.database).get_backend_name())
    # Before anything is opened: a second daemon must not migrate the first one's tables, nor change its bindings.
    lock.take()
    tracing.start(os.environ)
    plan = Plan.read(os.environ, SystemClock())
    refresh = Refresh(settings, SystemClock())
    loop.add_signal_handler(signal.SIGUSR1, refresh.now)
    listening = socket.socket(fileno=leash.listening) if leash is not None and leash.listening is not None else None

    async def live(listening: socket.socket | None, plan: Plan, is_first: bool) -> Ending:
        return await _live(roles, leash, stopping, refresh, listening, plan=plan, is_first=is_first)

    code = await _lives(live, stopping, refresh, listening, plan)
    tracing.stop()
    lock.release()
    log.info("hub_stopped")
    return code


@dataclass(frozen=True, slots=True)
class Ending:
    """How a life of the hub ended, and what the next one begins with."""

    code: int
    listening: socket.socket | None
    """Goes on listening: who connects during a refresh waits there."""
    had: Plan
    following: Plan
    """What is in the files by now, where it was found good."""


Live: TypeAlias = Callable[[socket.socket | None, Plan, bool], Awaitable[Ending]]


async def _lives(
    live: Live, stopping: asyncio.Event, refresh: Refresh, listening: socket.socket | None, plan: Plan
) -> int:
    """One life after the other, until the hub is to stop or has failed."""
    is_first, former = True, plan
    while True:
        try:
            ending = await live(listening, plan, is_first)
        except (StoreUnavailableError, ConfigError) as error:
            if is_first:
                raise
            if isinstance(error, ConfigError):
                # Found good a moment ago, and not good enough. What the last life went by was: a hub that has run
                # must not end because somebody left a mistake somewhere.
                tell_refused("refresh_failed", error)
                plan = former if plan is not former else _plan_by_now(former)
            else:
                # It was there a moment ago, or nothing would have been refreshed: it comes again, or whoever changed
                # its address or its password puts that right.
                log.warning("refresh_awaits_database", error=str(error), pause_s=AGAIN_S)
                plan = _plan_by_now(plan)
            if not await is_set_within(stopping, AGAIN_S):
                continue
            return 0
        if stopping.is_set() or ending.code:
            return ending.code
        refresh.again()
        is_first, listening, former, plan = False, ending.listening, ending.had, ending.following


def _plan_by_now(plan: Plan) -> Plan:
    """What is in the files by now; while there is a mistake in them, the plan that there was."""
    try:
        return Plan.read(os.environ, SystemClock())
    except ConfigError as error:
        tell_refused("refresh_failed", error)
        return plan


async def _live(
    roles: tuple[str, ...],
    leash: Leash | None,
    stopping: asyncio.Event,
    refresh: Refresh,
    listening: socket.socket | None,
    *,
    plan: Plan,
    is_first: bool,
) -> Ending:
    """One life of the hub, until it is to stop, has failed, or is to be refreshed: each ends it alike."""
    hub = await Hub.open(os.environ, plan=plan)
    try:
        processes = Processes(Path(leash.directory), leash.number) if leash is not None else None
        if listening is None and "ingress" in roles and is_number(hub.settings.host):
            # Of a name there may be several addresses: these are bound, and left at a refresh, by the server itself.
            listening = bind(hub.settings.host, hub.settings.port)
        # Each life closes its own copy.
        await hub.start(roles, listening=listening.dup() if listening is not None else None, processes=processes)
        settle_interpreter()
    except BaseException:
        await hub.stop(1.0)
        raise
    reloads: set[asyncio.Task[None]] = set()

    def on_hangup() -> None:
        task = asyncio.create_task(_reload(hub))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
    if is_first:
        if leash is not None:
            leash.say_started()
        if leash is None or leash.greets:
            _greet(hub)
    else:
        log.info("hub_refreshed")
    following: Plan | None = None
    while True:
        waits = [asyncio.create_task(one) for one in (hub.failed.wait(), stopping.wait(), refresh.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        code = EXIT_PROBLEM if hub.failed.is_set() else 0
        is_end = bool(code) or stopping.is_set()
        if is_end or (following := await _next_plan(hub, os.environ)) is not None:
            break
        refresh.again()
    log.info("hub_stopping" if is_end else "hub_refreshing", deadline_s=hub.settings.stop_deadline_s)
    if is_end and listening is not None:
        # Nobody is to wait for a hub that does not come again.
        listening.close()
    await hub.stop()
    return Ending(code, listening, hub.plan, following or hub.plan)


async def _next_plan(hub: Hub, environ: Mapping[str, str]) -> Plan | None:
    """What a refresh would come up with; None where it would not come up.

    It is what the next life goes by, whatever becomes of the files in between.
    """
    try:
        plan = Plan.read(environ, hub.clock)
        async with hub.store.reading() as conn:
            await conn.execute(select(1))
    except (ConfigError, StoreUnavailableError) as error:
        tell_refused("refresh_refused", error)
        return None
    REFUSED.set(0)
    return plan


async def _reload(hub: Hub) -> None:
    try:
        await hub.reload()
    except Exception as error:
        tell_refused("routing_not_reloaded", error)
    else:
        REFUSED.set(0)


def tell_refused(event: str, error: Exception) -> None:
    """Say why the hub goes on by what it has, and not by what is in its files."""
    REFUSED.set(1)
    if isinstance(error, ConfigError):
        for problem in error.problems:
            log.error(event, problem=str(problem))
    else:
        is_known = isinstance(error, StoreUnavailableError)
        log.error(event, problem=words_for_logs(error), exc_info=None if is_known else error)


def _greet(hub: Hub) -> None:
    if hub.serving is None:
        return
    typer.echo(f"The hub listens on {hub.serving.url} and keeps its data in {_short(hub.settings.home)}.")
    for problem in hub.wiring.loaded.warnings:
        log.warning("routing_warning", problem=str(problem))
    if hub.settings.console != "off" and hub.settings.sandbox:
        password = _short(hub.settings.home / "secrets" / "HUB_CONSOLE_PASSWORD")
        typer.echo(f"Its console is {hub.serving.url}{CONSOLE}: sign in as admin, the password is in {password}.")
    for line in hub.first_steps():
        typer.echo(line)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
