"""What an endpoint of a capability's API returns or raises, as its callers see it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import BaseModel

from hub.errors import RefusedCommand, RetryableError, UnreadableError, UsageError
from hub.ingress.answering import AnswerShape, Said, path_id
from hub.ingress.tokens import RefusedError


class Reply(BaseModel):
    id: int


class Problem(BaseModel):
    word: str


def body(code: str, text: str, more: Mapping[str, object]) -> Mapping[str, object]:
    return {"word": code, "says": text, **more}


SHAPE = AnswerShape(
    name="shop",
    statuses={"BAD": 400, "WHO": 401, "NO": 403, "GONE": 404, "LATER": 503, "OURS": 500},
    status_otherwise=422,
    body=body,
    problem=Problem,
    common=("BAD", "WHO"),
    invalid="BAD",
    unauthenticated=Said(code="WHO", text="who are you"),
    forbidden=Said(code="NO", text="not you"),
    unavailable=Said(code="LATER", text="come again"),
    internal=Said(code="OURS", text="unexpected"),
    challenge="Bearer",
)


async def answer_to(error: Exception) -> web.Response:
    async def endpoint(request: web.Request) -> web.Response:
        raise error

    answer = await SHAPE.answered(endpoint)(make_mocked_request("GET", "/"))
    assert isinstance(answer, web.Response)
    return answer


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RefusedCommand("GONE", "no such thing"), 404, {"word": "GONE", "says": "no such thing"}),
        (RefusedCommand("ODD", "too odd", field="size"), 422, {"word": "ODD", "says": "too odd", "field": "size"}),
        (RefusedError(401, "no key"), 401, {"word": "WHO", "says": "who are you"}),
        (RefusedError(403, "a viewer"), 403, {"word": "NO", "says": "not you"}),
        (UnreadableError("expected JSON"), 400, {"word": "BAD", "says": "expected JSON"}),
        (RetryableError("the database is away"), 503, {"word": "LATER", "says": "come again"}),
        (UsageError("no route takes it"), 500, {"word": "OURS", "says": "unexpected"}),
        (RuntimeError("a secret"), 500, {"word": "OURS", "says": "unexpected"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_is_raised_becomes_an_error_of_the_api(
    error: Exception, status: int, said: Mapping[str, object]
) -> None:
    answer = await answer_to(error)

    assert (answer.status, json.loads(answer.text or "")) == (status, said)
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    assert ("Retry-After" in answer.headers) == (status == 503)


async def test_a_model_is_answered_as_json_and_what_aiohttp_raises_stays() -> None:
    async def endpoint(request: web.Request) -> Reply:
        return Reply(id=7)

    answer = await SHAPE.answered(endpoint)(make_mocked_request("GET", "/"))

    assert isinstance(answer, web.Response)
    assert (answer.status, answer.text) == (200, '{"id":7}')
    with pytest.raises(web.HTTPNotFound):
        await answer_to(web.HTTPNotFound())


def test_fields_and_ids_that_do_not_fit_are_refused_in_the_words_of_the_api() -> None:
    with pytest.raises(RefusedCommand) as wrong:
        SHAPE.as_model(Reply, {"id": "seven"})
    assert (wrong.value.code, wrong.value.detail[:3]) == ("BAD", "id:")

    with pytest.raises(RefusedCommand) as unknown:
        path_id(make_mocked_request("GET", "/", match_info={"id": "x"}), "id", code="GONE", detail="nothing")
    assert unknown.value.code == "GONE"
