"""The hub's engine: accept events, route them by rules, deliver them once, keep the books, publish the results.

Begin with ``hub/app.py`` (how the parts are put together) and follow one event through ``inbox``, ``routing``,
``deliver``, ``ledger`` and ``outbox``. Nothing here knows a provider or a business word.
"""

import sys

from hub.postponed import postpone

# Beside its engines it gathers sessions and, with them, all of the object-relational part.
postpone("sqlalchemy.ext.asyncio", first="engine")
# Beside its server it gathers its client, which reads all authorities of certificates, twice.
postpone("aiohttp")

if "rich" not in sys.modules:
    # structlog draws the errors of a terminal with it where it is installed, which is 3 MB of every daemon's memory.
    # The hub draws its own, without the values that such a drawing shows (``hub/cli/logs.py``).
    sys.modules["rich"] = None  # type: ignore[assignment]  # the documented way to have an import refused
    try:
        import structlog  # noqa: F401 - read now, while it finds no rich
    finally:
        del sys.modules["rich"]
