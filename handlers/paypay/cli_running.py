"""How the commands of this capability look and act: on an opened hub, with what was typed read into a message."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from hub.api import HubApi
from hub.cli.opening import opened
from hub.cli.output import run
from hub.errors import UsageError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def ask(look: Callable[[HubApi], Coroutine[Any, Any, T]]) -> T:
    """Look at what is stored; needs no secret."""

    async def work() -> T:
        async with opened(needs_secrets=False) as hub:
            return await look(hub.api)

    return run(work)


def order(act: Callable[[HubApi], Coroutine[Any, Any, T]]) -> T:
    """Give a command."""

    async def work() -> T:
        async with opened() as hub:
            return await act(hub.api)

    return run(work)


def read(model: type[M], fields: dict[str, Any]) -> M:
    """What was typed, as a message. Raises UsageError, which says which option is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{cast('str', first['loc'][0])}: {first['msg']}") from None
