"""The SDK ``paypayopa`` and the threads it runs in; ``client.py`` alone uses this module.

The SDK blocks, sets no time-out, loses the status, prints help to the screen and shares state between calls (one thread
may read the path that another has just set). So every thread has a client of its own, on a session that sets time-outs,
refuses redirects, bounds the answer and keeps it; what the SDK makes of the answer is not used.

Source: docs/providers/paypay.md, "The SDK"; https://github.com/paypay/paypayopa-sdk-python.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog

from handlers.paypay.answers import Answer
from hub.errors import HubError
from hub.flow.turn import end_of_turn

if TYPE_CHECKING:
    from handlers.paypay.settings import PayPaySettings

CONNECT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 1024 * 1024
CHUNK_BYTES: Final = 64 * 1024
RETRY_AFTER_S_MAX: Final = 300.0
REQUEST_ID_CHARS_MAX: Final = 64

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NotSent:
    """No connection came about: PayPay saw nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """It was sent, or may have been, and no answer was read."""

    reason: str


Exchanged: TypeAlias = Answer | NotSent | Lost
Do: TypeAlias = Callable[[Any], object]
"""What to do with the SDK's client, in a thread."""


class SdkMissingError(HubError):
    """The SDK cannot be imported."""


class Sdk:
    """The SDK for one merchant, in at most ``calls_max`` threads, which begin when they are needed."""

    def __init__(self, settings: PayPaySettings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(settings.calls_max, thread_name_prefix="paypay")
        self._own = threading.local()

    async def exchange(self, do: Do, *, read_s: float) -> Exchanged:
        """Run one call in a thread. Raises SdkMissingError; everything else that can go wrong is an answer.

        Who cancels this does not stop a call that is out: its outcome is unknown then.
        """
        end = end_of_turn()

        def call() -> Exchanged:
            exchanged = self._exchange(do, read_s)
            # From anything else something may follow for the next call: too many, or no answer once more.
            if isinstance(exchanged, Answer) and exchanged.http_status < HTTPStatus.BAD_REQUEST:
                end()
            return exchanged

        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Let the threads end; calls that are out go on to their end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _exchange(self, do: Do, read_s: float) -> Exchanged:
        import requests  # noqa: PLC0415 - with the SDK, and in the thread: both take a while

        client = self._client()
        session = client.session
        session.begin(read_s)
        try:
            do(client)
        except requests.exceptions.ConnectTimeout:
            return NotSent("no connection in time")
        except requests.exceptions.ConnectionError as error:
            if session.answer is None:
                return NotSent("no connection") if _is_before_sending(error) else Lost("connection lost")
        except requests.exceptions.Timeout:
            if session.answer is None:
                return Lost("no answer in time")
        except Exception as error:
            # The SDK stumbles over answers that are not as it expects; what was kept is judged all the same.
            if session.answer is None:
                log.warning("paypay_call_failed", error=type(error).__name__)
                return Lost(type(error).__name__)
        kept: Answer | None = session.answer
        return kept if kept is not None else Lost("no answer")

    def _client(self) -> Any:
        client = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = self._new_client()
        return client

    def _new_client(self) -> Any:
        module = _load()
        settings = self._settings
        options = {} if settings.url is None else {"base_url": settings.url}
        client = module.Client(
            auth=(settings.key, settings.api_secret.get_secret_value()),
            production_mode=settings.mode == "production",
            session=_session_class()(),
            **options,
        )
        client.set_assume_merchant(settings.merchant)
        return client


def load_problem() -> str | None:
    """Why the SDK cannot be imported; None when it can."""
    try:
        _load()
    except SdkMissingError as error:
        return str(error)
    return None


_loading = threading.Lock()


def _load() -> Any:
    with _loading:
        try:
            with warnings.catch_warnings():
                # It leans on pkg_resources, which says at each import that it will go.
                warnings.simplefilter("ignore")
                import paypayopa  # noqa: PLC0415 - it blocks, and is slow to load
                from paypayopa import client as module  # noqa: PLC0415 - it blocks, and is slow to load
        except ImportError as error:
            raise SdkMissingError(
                f"paypayopa cannot be imported ({error}): it needs the package setuptools below version 81 beside it"
            ) from error
        # It prints a link for every refusal; the code of the refusal is in our log.
        module.print = lambda *_args, **_kwargs: None
        return paypayopa


def _session_class() -> Any:
    import requests  # noqa: PLC0415 - with the SDK, and in the thread: both take a while

    class RecordingSession(requests.Session):
        """Keeps the answer to its last request, and sees to what the SDK leaves open."""

        def __init__(self) -> None:
            super().__init__()
            # No proxy, no .netrc: the latter would replace the signature.
            self.trust_env = False
            self.answer: Answer | None = None
            self._read_s = 0.0

        def begin(self, read_s: float) -> None:
            self.answer, self._read_s = None, read_s

        def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
            request_id = uuid.uuid4().hex
            kwargs["headers"] = {**(kwargs.get("headers") or {}), "X-REQUEST-ID": request_id}
            kwargs.update(timeout=(CONNECT_S, self._read_s), allow_redirects=False, stream=True)
            started = time.monotonic()
            with super().request(method, url, *args, **kwargs) as response:
                body = _bounded(response, started + CONNECT_S + self._read_s)
                response._content = body
                self.answer = Answer(
                    http_status=response.status_code,
                    body=body,
                    request_id=response.headers.get("X-REQUEST-ID", request_id)[:REQUEST_ID_CHARS_MAX],
                    elapsed_ms=round((time.monotonic() - started) * 1000),
                    retry_after_s=_seconds(response.headers.get("Retry-After", "")),
                )
            return response

    return RecordingSession


def _bounded(response: Any, deadline: float) -> bytes:
    """The body, unless it is too long or dribbles: an answer that was not read whole is none."""
    import requests  # noqa: PLC0415 - with the SDK, and in the thread: both take a while

    body = bytearray()
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise requests.exceptions.ConnectionError("the answer is too long")
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout("the answer takes too long")
    return bytes(body)


def _is_before_sending(error: Exception) -> bool:
    """Whether the connection itself did not come about (refused, no such host), so that nothing can have been sent."""
    from urllib3.exceptions import NewConnectionError  # noqa: PLC0415 - with the SDK, and in the thread: both take a while

    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", cause), NewConnectionError)


def _seconds(text: str) -> float | None:
    return min(float(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else None
