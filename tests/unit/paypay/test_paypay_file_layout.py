"""What is read in a transaction file, and what is said of one that is broken."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.paypay.files_layout import (
    CAPTURE,
    INSTANT,
    LINE_BYTES_MAX,
    OTHER_STATUS,
    STATUS_CHARS_MAX,
    STATUSES_MAX,
    FileRow,
    Found,
    Layout,
    TransactionFile,
    read_name,
)
from hub.errors import UnreadableError
from tests.support.running import PROJECT

FIXTURE: dict[str, Any] = json.loads((PROJECT / "tests/data/paypay/recon_files.json").read_text())
AMOUNT = "取引金額".encode("cp932")
KINDS: tuple[Layout, ...] = ("instant", "capture")


def content_of(kind: str) -> bytes:
    return base64.b64decode(FIXTURE[kind]["content_base64"])


def read(content: bytes, layout: Layout) -> tuple[Found, list[FileRow]]:
    file = TransactionFile(io.BytesIO(content), layout)
    rows = list(file.rows())
    return file.found, rows


def test_the_published_file_of_instant_payments() -> None:
    case = FIXTURE["instant"]
    name = read_name(case["file_name"])

    found, rows = read(content_of("instant"), name.layout)

    assert (name.layout, name.merchant_id, name.day) == ("instant", "900000000000000001", date(2024, 1, 1))
    assert list(found.columns) == case["columns"] == list(INSTANT)
    assert found.row_count == len(rows) == case["expect"]["rows"]
    assert found.completed_jpy == case["expect"]["completed_total"]
    assert found.refunded_jpy == case["expect"]["refunded_total"]
    assert {case["statuses"][word]: count for word, count in case["expect"]["status_counts"].items()} == found.statuses
    assert rows[1].cells["取引ステータス"] == "返金完了"
    assert (rows[0].line, rows[0].own_id, rows[0].at) == (2, "pay-0001", datetime(2024, 1, 1, 12, 34, 56, tzinfo=UTC))


def test_a_file_may_have_as_many_words_for_a_status_as_rows() -> None:
    found = Found("instant", "cp932", INSTANT)
    for number in range(3 * STATUSES_MAX):
        found.count(FileRow(line=number, cells={}, status=f"{number} {'x' * 1_000}"))

    assert len(found.statuses) == STATUSES_MAX + 1
    assert (found.statuses[OTHER_STATUS], found.row_count) == (2 * STATUSES_MAX, 3 * STATUSES_MAX)
    assert max(map(len, found.statuses)) <= STATUS_CHARS_MAX


def test_the_published_file_of_later_capture_keeps_both_authorizations() -> None:
    case = FIXTURE["capture"]
    name = read_name(case["file_name"])

    found, rows = read(content_of("capture"), name.layout)

    assert (name.layout, list(found.columns)) == ("capture", case["columns"])
    assert found.columns == list(CAPTURE)
    assert found.row_count == case["expect"]["rows"]
    assert [(row.status, row.order_id[-2:], row.amount_jpy) for row in rows] == [
        ("AUTHORIZED", "31", 2924),
        ("AUTHORIZED", "31", 1000),
        ("COMPLETED", "31", 1000),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_nobody_knows_is_kept_and_shown(kind: Layout) -> None:
    lines = content_of(kind).decode("cp932").splitlines()
    more = "\n".join([f"authorizationExpiration,{lines[0]}", *(f"2024-02-01,{line}" for line in lines[1:])]) + "\n"

    found, rows = read(more.encode("cp932"), kind)

    assert found.columns[0] == "authorizationExpiration"
    assert {row.cells["authorizationExpiration"] for row in rows} == {"2024-02-01"}
    assert [row.amount_jpy for row in rows] == [row.amount_jpy for row in read(content_of(kind), kind)[1]]


def test_a_file_of_an_unpublished_layout_is_shown_as_it_is() -> None:
    content = "cashback_id,acceptedAt,何か\nc-1,2024-01-01,髙\n".encode("cp932")

    found, rows = read(content, read_name("cashback_900000000000000001.csv").layout)

    assert (found.layout, found.encoding, found.row_count) == ("other", "cp932", 1)
    assert rows[0].cells == {"cashback_id": "c-1", "acceptedAt": "2024-01-01", "何か": "髙"}
    assert rows[0].amount_jpy is None


def _cut_in_last_line(raw: bytes) -> bytes:
    return raw[: raw.rindex(b",") + 1]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], int, int, str]] = {
    "nothing": (lambda _: b"", 1, 1, "empty"),
    "cut in the header": (lambda raw: raw[:60], 1, 7, "expected the column"),
    "cut in a row": (lambda raw: raw[:215], 2, 8, "expected 13 columns, found 7"),
    "cut before the last cell": (_cut_in_last_line, 4, 13, "ends in the middle"),
    "a comma too many": (lambda raw: raw.replace(b"pos-1", b"pos,1", 1), 2, 14, "expected 13 columns, found 14"),
    "an empty line": (lambda raw: raw + b"\n", 5, 1, "expected 13 columns"),
    "another header": (
        lambda raw: raw.replace("取引金額".encode("cp932"), b"sum", 1),
        1,
        9,
        "expected the column 取引金額",
    ),
    "UTF-8": (lambda raw: raw.decode("cp932").encode(), 1, 1, "re-encoded"),
    "UTF-8 with its mark": (lambda raw: raw.decode("cp932").encode("utf-8-sig"), 1, 1, "re-encoded"),
    "UTF-16": (lambda raw: raw.decode("cp932").encode("utf-16"), 1, 1, "re-encoded"),
    "EUC-JP": (lambda raw: raw.decode("cp932").encode("euc_jp"), 1, 8, "expected Shift_JIS"),
    "a fraction": (lambda raw: raw.replace(b",1200,", b",12.0,", 1), 2, 9, "whole yen"),
    "no amount": (lambda raw: raw.replace(b",1200,", b",,", 1), 2, 9, "whole yen"),
    "no time": (lambda raw: raw.replace(b"2024-01-01T21", b"yesterday 21", 1), 2, 8, "expected a time"),
    "an open quote": (lambda raw: raw.replace(b"pos-1", b'"pos-1', 1), 2, 1, "CSV"),
    "a NUL": (lambda raw: raw.replace(b"pos-1", b"pos\x00", 1), 2, 6, "NUL"),
    "no id": (lambda raw: raw.replace(b"09000000000000000021", b"", 1), 2, 1, "PayPay's id"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_with_its_place(name: str) -> None:
    breaking, line, column, words = BROKEN[name]

    with pytest.raises(UnreadableError, match=words) as problem:
        read(breaking(content_of("instant")), "instant")

    assert (problem.value.line, problem.value.column) == (line, column)


def test_a_last_line_without_its_end_counts_where_it_is_whole() -> None:
    lines = content_of("instant").split(b"\n")
    whole = b"\n".join([lines[0], lines[1]])

    assert read(whole, "instant")[0].row_count == 1
    with pytest.raises(UnreadableError, match="line 2"):
        read(whole[:-1], "instant")


def test_every_cut_of_a_file_is_noticed_or_costs_whole_rows_only() -> None:
    content = content_of("instant")
    whole = {row.line: row for row in read(content, "instant")[1]}

    for end in range(len(content)):
        try:
            _, rows = read(content[:end], "instant")
        except UnreadableError:
            continue
        assert [whole[row.line] for row in rows] == rows, f"cut after {end} bytes"


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "表", '引"用', "カンマ,", "ｱｲｳ", "", "改\n行", "㈱"]), min_size=2, max_size=2),
        max_size=8,
    )
)
def test_whatever_is_written_as_csv_in_shift_jis_is_read_again(cells: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["one", "two"], *cells])

    found, rows = read(text.getvalue().encode("cp932"), "other")

    assert [list(row.cells.values()) for row in rows] == cells
    assert found.row_count == len(cells)


def test_a_file_without_lines_is_refused_before_it_stands_in_memory() -> None:
    class Watched(io.BytesIO):
        longest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            self.longest = max(self.longest, len(line))
            return line

        def __next__(self) -> bytes:
            return self.readline()

    content = Watched(b"x" * (3 * LINE_BYTES_MAX))

    with pytest.raises(UnreadableError, match="at most 1048576 bytes"):
        TransactionFile(content, "instant")
    assert content.longest == LINE_BYTES_MAX + 1


def test_a_last_cell_that_is_nested_without_end_is_no_whole_one() -> None:
    content = content_of("instant").rstrip(b"\n")
    bomb = content[: content.rindex(b"\n") + 1] + b",".join([b"1"] * 7 + [b"2024-01-01T00:00:00", b"1"] + [b"1"] * 3)

    with pytest.raises(UnreadableError, match="ends in the middle of this line"):
        read(bomb + b"," + b"[" * 100_000, "instant")
