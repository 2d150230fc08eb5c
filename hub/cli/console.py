"""``hub console``: who may sign in at the console. Passwords are read from the terminal or from standard input."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.options import ByOption, ReasonOption, actor
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.console.people import CONSOLE_ROLES, hash_password, list_users, put_user, remove_user
from hub.errors import UsageError

group = new_group("Who may sign in at the console, and as what.")
user_group = new_group("The users that the database knows.")
group.add_typer(user_group, name="user")

PASSWORD_LINE_MAX = 1_000

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
RoleOption = Annotated[str | None, typer.Option(metavar="ROLE", help=f"One of {', '.join(CONSOLE_ROLES)}.")]


@user_group.command("add")
def add(name: NameArgument, role: RoleOption = None, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Add a user, or give one a new password; asks for it, or reads a line from standard input.

    What the user is signed in to ends. viewer looks; operator retries, discards, pauses; admin also ends sessions and
    takes payloads as they came.

    Example: hub console user add ana --role operator
    """

    async def work() -> str:
        password = _password()
        async with looking() as hub:
            return await put_user(hub.store, hub.clock, name, role=role, password=password, actor=actor(by))

    _tell(run(work), name, as_json)


@user_group.command("role")
def role(
    name: NameArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"One of {', '.join(CONSOLE_ROLES)}.")],
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a user another role; what they are signed in to ends.

    Example: hub console user role ana viewer
    """

    async def work() -> str:
        async with looking() as hub:
            return await put_user(hub.store, hub.clock, name, role=role, password=None, actor=actor(by))

    _tell(run(work), name, as_json)


@user_group.command("remove")
def remove(name: NameArgument, reason: ReasonOption = "", by: ByOption = "", as_json: JsonOption = False) -> None:
    """Take a user away; what they are signed in to ends.

    Example: hub console user remove ana --reason "left the team"
    """

    async def work() -> str:
        async with looking() as hub:
            await remove_user(hub.store, hub.clock, name, actor=actor(by), reason=reason)
            return "removed"

    _tell(run(work), name, as_json)


@user_group.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the users of the database; those of settings and API keys are not among them.

    Example: hub console user list
    """

    async def work() -> list[dict[str, object]]:
        async with looking() as hub:
            found = await list_users(hub.store)
            return [
                {"name": one.name, "role": one.role, "created_at": one.created_at, "changed_at": one.changed_at}
                for one in found
            ]

    found = run(work)
    if as_json:
        print_json(found)
        return
    columns = ["name", "role", "added", "changed"]
    print_table("Users", columns, [list(one.values()) for one in found], empty="none")


@group.command("hash")
def hash_(as_json: JsonOption = False) -> None:
    """Print the hash of a password, for HUB_CONSOLE_USERS; asks for it, or reads a line from standard input.

    Example: hub console hash
    """

    async def work() -> str:
        return hash_password(_password())

    made = run(work)
    if as_json:
        print_json({"hash": made})
    else:
        typer.echo(made)


def _tell(what: str, name: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "done": what})
    else:
        say(f"{what.capitalize()}: {name}")


def _password() -> str:
    """The password, typed twice where somebody types. Raises UsageError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(PASSWORD_LINE_MAX).rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Once more: "):
        raise UsageError("these were two different passwords")
    return first
