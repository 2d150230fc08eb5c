"""What SePay writes into a transfer, as ours: whole dong and instants in UTC.

Source: docs/providers/sepay.md, "What SePay sends".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

BANK_TIME_ZONE: Final = timezone(timedelta(hours=7), "ICT")
"""Vietnam's time, which has no daylight saving."""
AMOUNT_MINOR_MAX: Final = 10**15
"""More dong than one transfer can be; keeps every sum within 64 bits."""
_BANK_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", re.ASCII)
_AMOUNT_TEXT: Final = re.compile(r"\d{1,18}(\.\d{1,4})?", re.ASCII)


def dong(value: object) -> int:
    """Whole dong from a JSON number or, as form bodies send it, from text such as ``"18067000.00"``.

    Raises ValueError for anything that is not a number of whole dong from 1 to AMOUNT_MINOR_MAX.
    """
    if isinstance(value, str):
        if _AMOUNT_TEXT.fullmatch(value) is None:
            raise ValueError("the amount is not a number")
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("the amount is not a number")
    if value != int(value):
        raise ValueError("the dong has no fraction")
    if not 0 < value <= AMOUNT_MINOR_MAX:
        raise ValueError("the amount is not positive or too large")
    return int(value)


def bank_time(value: object) -> datetime:
    """The instant of ``YYYY-MM-DD HH:MM:SS`` on a Vietnamese clock, in UTC. Raises ValueError."""
    if not isinstance(value, str) or _BANK_TIME.fullmatch(value) is None:
        raise ValueError("the date is not YYYY-MM-DD HH:MM:SS")
    return datetime.fromisoformat(value).replace(tzinfo=BANK_TIME_ZONE).astimezone(UTC)


def instant_text(instant: datetime) -> str:
    """An instant as the API shows it, to the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bank_time_text(instant: datetime) -> str:
    """The opposite of ``bank_time``, to the second."""
    return instant.astimezone(BANK_TIME_ZONE).strftime("%Y-%m-%d %H:%M:%S")
