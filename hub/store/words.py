"""What an error may say where people read it: in logs, as reasons, in answers."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from hub.errors import HubError
from hub.store.store import sqlstate

_DATA_EXCEPTION = "22"
"""PostgreSQL's class of codes for values that it cannot take: here the first line, too, quotes the value."""


def words_of(error: BaseException) -> str:
    """The error's kind and its own words. Of the database's errors the first line alone.

    What follows it quotes rows and values (``DETAIL: Failing row contains (…)``), which may be personal data.
    """
    kind = type(error).__name__
    return f"{kind}: {_refusal(error)}" if isinstance(error, DBAPIError) else f"{kind}: {error}"


def words_for_logs(error: BaseException) -> str:
    """The error's kind, and its words where they are known to hold no data: our own, the system's, a refusal's first
    line.

    A stranger's words may quote what it was given (``KeyError: 'card 4111…'``, a driver's DETAIL): only its kind is
    told, with the database's code where it has one.
    """
    if isinstance(error, HubError | OSError):
        return words_of(error)
    code = sqlstate(error) if isinstance(error, DBAPIError) else getattr(error, "sqlstate", None)
    kind = f"{type(error).__name__} ({code})" if code else type(error).__name__
    return f"{kind}: {_refusal(error)}" if isinstance(error, DBAPIError) else kind


def _refusal(error: DBAPIError) -> str:
    code = sqlstate(error)
    if code.startswith(_DATA_EXCEPTION) or isinstance(getattr(error.orig, "__cause__", None), ValueError):
        return f"the database cannot take a value ({code or 'refused by its driver'})"
    return str(error.orig).partition("\n")[0]
