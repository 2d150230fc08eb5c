"""The record's second reader: a Slack-compatible incoming webhook (Slack, Mattermost, Rocket.Chat …).

Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks;
docs/providers/paypal.md, "The record".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, assert_never

import aiohttp.client

from handlers.paypal.proving import harmless
from handlers.paypal.record_words import details, headline
from handlers.paypal.settings import PaypalSettings
from hub.calls.outcome import Declined, Outcome, Pending, Settled, Unknown
from hub.capability import calls
from hub.errors import BusyError, RetryableError
from schemas.paypal import EventRecorded

if TYPE_CHECKING:
    from hub.deliver.context import Context

POST_S_MAX: Final = 10.0
RETRY_AFTER_S, RETRY_AFTER_S_MAX = 30.0, 600.0
ANSWER_BYTES_MAX: Final = 1_024
MARKS: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""What Slack reads as its own marks: a sender's text must not become a link or call a whole channel."""


@calls("slack")
async def tell_slack(recorded: EventRecorded, ctx: Context) -> None:
    """Post one message. After a lost answer it is posted again: two lines do less harm than none."""
    settings: PaypalSettings = ctx.settings
    url = settings.slack_webhook_url.get_secret_value()
    if not url:
        ctx.conclude("off")
        return

    async def post(request: Mapping[str, Any], key: str) -> Outcome:
        return await _post(url, request)

    outcome = await ctx.call("post", post, message_of(recorded), lookup=harmless, timeout_s=POST_S_MAX)
    match outcome:
        case Settled():
            ctx.conclude("told")
        case Declined(reason=reason):
            ctx.review("slack_refused", reason)
        case Pending(reason=reason) | Unknown(reason=reason):
            raise RetryableError(f"Slack may not have it: {reason}")
        case _:
            assert_never(outcome)


def message_of(recorded: EventRecorded) -> dict[str, Any]:
    """What is posted: a headline, and below it everything that the record says."""
    lines = [f"*{name}*: {value.translate(MARKS)}" for name, value in details(recorded)]
    return {"text": "\n".join((f"PayPal: {headline(recorded).translate(MARKS)}", *lines))}


async def _post(url: str, message: Mapping[str, Any]) -> Outcome:
    timeout = aiohttp.ClientTimeout(total=POST_S_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
            http.post(url, json=message, allow_redirects=False) as response,
        ):
            word = (await response.content.read(ANSWER_BYTES_MAX)).decode("utf-8", "replace")[:100]
            if response.status == 429:
                raise BusyError("Slack is busy", delay_s=_delay_s(response.headers))
            if response.status < 300:
                return Settled()
            if response.status < 500:
                return Declined(f"Slack answers {response.status} {word}".strip())
            return Unknown(f"Slack answers {response.status}")
    except aiohttp.ClientConnectorError as error:
        raise RetryableError(f"Slack cannot be reached: {type(error).__name__}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Unknown(type(error).__name__)


def _delay_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 7
    return min(max(1.0, float(text)), RETRY_AFTER_S_MAX) if is_number else RETRY_AFTER_S
