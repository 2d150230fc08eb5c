"""What people type or paste to find things: at the console, at the command line, as numbers of pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from handlers.sepay.desk_cli import transfer_number
from hub.cli.options import as_headers, as_moment, as_uuid
from hub.cli.output import EXIT_USAGE, run
from hub.console.visit import Visit, whole_number
from hub.errors import UsageError
from hub.operate.events import EventFilter, list_events
from hub.operate.finding import find_events
from hub.operate.lookup import NUMBER_DIGITS_MAX, find_target, id_range
from hub.operate.masking import Mask
from hub.store.store import Store
from schemas.sepay import TRANSFER_ID_MAX
from tests.hostile.parsers.inputs import ODD_LITERALS, expect, fuzz, is_storable, mutated_text, odd_texts

ID = "0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
typed = mutated_text([ID, TRACE, "order_code=ORD123", "12345678"]) | odd_texts
FIELDS = ("event_id", "trace", "cause", "source", "type", "key", "dedupe_id", "tag", "state")
ENDS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), None)


@fuzz(15)
@given(
    filters=st.dictionaries(st.sampled_from(FIELDS), typed, max_size=2),
    text=typed,
    since=st.sampled_from(ENDS),
    until=st.sampled_from(ENDS),
    before=st.integers() | st.none(),
)
async def test_whatever_is_looked_for_is_not_found_or_refused_in_a_sentence(
    store: Store, filters: dict[str, str], text: str, since: datetime | None, until: datetime | None, before: int | None
) -> None:
    wanted = EventFilter(since=since, until=until, **cast(Any, filters))
    try:
        page = await list_events(store, wanted, before=before, window=100)
    except UsageError as error:
        expect("expected" in str(error))
    else:
        assert page.events == ()
    assert await find_events(store, text, ["shop"]) == []
    async with store.reading() as conn:
        with pytest.raises(UsageError):
            await find_target(conn, text)


@pytest.mark.parametrize("text", ["9" * 19, "9" * 32, "9" * 5_000])
async def test_a_number_that_no_column_holds_names_no_delivery(store: Store, text: str) -> None:
    async with store.reading() as conn:
        with pytest.raises(UsageError):
            await find_target(conn, text)


@fuzz(40)
@given(typed, st.integers(0, NUMBER_DIGITS_MAX + 5))
def test_parameters_of_a_page_can_be_asked_for_in_a_database_or_are_refused(text: str, digits: int) -> None:
    request = SimpleNamespace(query={"q": text})
    visit = Visit(cast(Any, None), cast(Any, request), cast(Any, None), MultiDict({"reason": text}))
    for is_query in (True, False):
        try:
            found = visit.asked("q") if is_query else visit.told("reason")
        except UsageError as error:
            expect(len(str(error)) < 200)
            continue
        assert found is None or is_storable(found)
    for number in (text, "9" * digits):
        try:
            assert 0 <= whole_number("page", number) < 10**NUMBER_DIGITS_MAX
        except UsageError as error:
            expect(len(str(error)) < 200)


@fuzz(40)
@given(typed)
def test_arguments_of_commands_are_read_or_refused_in_a_sentence(text: str) -> None:
    for read in (as_uuid, as_moment, lambda text, _: as_headers([text]), lambda text, _: id_range(text)):
        try:
            read(text, "--option")
        except UsageError as error:
            expect("expected" in str(error))
    try:
        assert 0 <= transfer_number(text) <= TRANSFER_ID_MAX
    except typer.BadParameter as error:
        expect("is not the number of a transfer" in str(error))


def test_an_argument_that_is_no_text_ends_a_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> bytes:
        return "a\udcff".encode()

    with pytest.raises(typer.Exit) as ended:
        run(work)

    assert ended.value.exit_code == EXIT_USAGE
    assert "UTF-8" in capsys.readouterr().err


MASK = Mask(["data.content", "data.list.card", "data.list.0.name", "headers.x-phone"])
SECRET = "hush-hush-0815"


def holding(secret: object) -> list[dict[str, Any]]:
    """Documents with the secret where the mask says that it is, and in no other place."""
    return [
        {"content": secret, "id": 1, "list": []},
        {
            "content": {"deep": [secret]},
            "list": [{"card": [secret], "name": secret}, {"card": {"n": secret}}],
            "note": "x",
        },
        {"list": [[{"card": secret}], {"name": "shown"}], "content": [secret, {secret: secret}]},
    ]


@fuzz(30)
@given(st.sampled_from(holding("@@")), odd_texts, st.sampled_from(ODD_LITERALS), st.booleans())
def test_what_is_masked_is_shown_to_nobody_whatever_stands_beside_it(
    document: dict[str, Any], beside: str, literal: str, is_first: bool
) -> None:
    text = json.dumps(document).replace("@@", SECRET)
    more = f"{json.dumps(beside or 'x')}: {literal}"
    body = f"{{{more}, {text[1:]}" if is_first else f"{text[:-1]}, {more}}}"

    assert SECRET not in MASK.payload(body.encode("utf-8", "surrogatepass"))
    assert MASK.headers({"X-Phone": SECRET})["X-Phone"] != SECRET
