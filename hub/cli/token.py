"""``hub token``: a token for an end user, where the hub shares a secret with whoever issues them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated

import typer

from hub.cli.output import JsonOption, print_json, run
from hub.environment import as_started
from hub.errors import UsageError
from hub.ingress.tokens import SUBJECT_MAX, Doorman
from hub.settings import load_settings

LIFE_S_MAX = 30 * 86_400


def token(
    user: Annotated[str, typer.Option(help="The user's id; the token's subject.")],
    life_s: Annotated[int, typer.Option(min=1, max=LIFE_S_MAX, help="How long it is good for, in seconds.")] = 3_600,
    as_json: JsonOption = False,
) -> None:
    """Print a token for an end user, for development.

    Standard output holds the token alone, so that a script can use it. The hub that is to take it must have the same
    HUB_JWT_SECRET, or the same HUB_HOME where that was generated.

    Example: curl -H "Authorization: Bearer $(hub token --user 42)" http://127.0.0.1:8080/api/...
    """
    issued = run(lambda: _issue(user, life_s))
    if as_json:
        print_json({"token": issued, "user": user, "expires_in_s": life_s})
    else:
        typer.echo(issued)


async def _issue(user: str, life_s: int) -> str:
    if not user.strip() or len(user) > SUBJECT_MAX:
        raise UsageError(f"--user: expected from 1 to {SUBJECT_MAX} characters")
    settings = load_settings(as_started(os.environ))
    return Doorman.of(settings).tokens.issue(user, datetime.now(UTC), life_s=life_s)
