"""``hub db``: the database's tables, brought to what this program expects."""

from __future__ import annotations

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import load_rules, open_store
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.store.schema import ahead, current, pending, upgrade

group = new_group("Bring the database's tables up to date.")


@group.command("upgrade")
def upgrade_database(as_json: JsonOption = False) -> None:
    """Run every migration that is missing, all or none; running it again changes nothing.

    Example: hub db upgrade
    """

    async def work() -> list[str]:
        _, settings, wiring = load_rules()
        store = open_store(settings)
        try:
            return await upgrade(store, wiring.capabilities.members)
        finally:
            await store.close()

    done = run(work)
    if as_json:
        print_json({"done": done})
    else:
        say(f"Upgraded: {', '.join(done)}" if done else "The database is up to date.")


@group.command("current")
def show_current(as_json: JsonOption = False) -> None:
    """Show how far the database has come; exit 1 when migrations are missing.

    Example: hub db current
    """

    async def work() -> tuple[dict[str, str | None], list[str], list[str]]:
        _, settings, wiring = load_rules()
        store = open_store(settings)
        try:
            members = wiring.capabilities.members
            return await current(store, members), await pending(store, members), await ahead(store, members)
        finally:
            await store.close()

    branches, missing, newer = run(work)
    if as_json:
        print_json({"branches": branches, "missing": missing, "newer": newer})
    else:
        print_table("Database", ["branch", "revision"], [[name, at or "not begun"] for name, at in branches.items()])
        say(f"Missing: {', '.join(missing)}. Run hub db upgrade." if missing else "Nothing is missing.")
        if newer:
            say(f"Newer than this program, which may work on it all the same: {', '.join(newer)}.")
    if missing:
        raise typer.Exit(EXIT_PROBLEM)
