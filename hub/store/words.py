"""What an error of the database may say where people read it: in logs, as reasons, in answers."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError


def words_of(error: BaseException) -> str:
    """The error's kind and its own words. Of the database's errors the first line alone.

    What follows it quotes rows and values (``DETAIL: Failing row contains (…)``), which may be personal data.
    """
    text = str(error.orig if isinstance(error, DBAPIError) else error)
    first = text.partition("\n")[0] if isinstance(error, DBAPIError) else text
    return f"{type(error).__name__}: {first}"
