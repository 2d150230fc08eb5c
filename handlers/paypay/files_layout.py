"""What is in a transaction file: CSV in Shift_JIS, one header, a row per thing that happened.

Two layouts are published: instant payments (Japanese titles) and payments that were authorized first (English ones). A
file of another name, such as the one of cashback, is shown as it is and compared with nothing. Columns that nobody
knows are kept and shown. Everything that is wrong says where. Source: docs/providers/paypay.md, "Transaction files".
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import IO, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from hub.errors import UnreadableError

Layout: TypeAlias = Literal["instant", "capture", "other"]

JAPAN: Final = ZoneInfo("Asia/Tokyo")
INSTANT: Final = (
    *("決済番号", "加盟店ID", "屋号", "店舗ID", "店舗名", "端末番号/PosID", "取引ステータス", "取引日時", "取引金額"),
    *("レシート番号", "支払い方法", "マーチャント決済ID", "支払い詳細"),
)
CAPTURE: Final = (
    *("orderId", "merchantId", "brandName", "storeId", "storeName", "terminalId", "transactionStatus", "acceptedAt"),
    *("amount", "orderReceiptNumber", "methodOfPayment", "merchantPaymentId", "paymentDetails"),
)
COLUMNS: Final[Mapping[Layout, Sequence[str]]] = {"instant": INSTANT, "capture": CAPTURE, "other": ()}
STATUSES: Final[Mapping[str, str]] = {
    "取引完了": "COMPLETED",
    "取引失敗": "FAILED",
    "返金完了": "REFUNDED",
    "返金失敗": "REFUND_FAILED",
}
"""PayPay's Japanese words for a status, in its own English ones."""
LINE_BYTES_MAX: Final = 1_048_576
COLUMNS_MAX: Final = 200
ROWS_AT_ONCE: Final = 500
STATUSES_MAX: Final = 50
STATUS_CHARS_MAX: Final = 50
OTHER_STATUS: Final = "other"
"""What further words for a status are counted as: a file may hold as many as it has rows."""
_ORDER, _MERCHANT, _STATUS, _AT, _AMOUNT, _OWN_ID, _DETAILS = 0, 1, 6, 7, 8, 11, 12
_NAME: Final = re.compile(r"(?P<kind>transaction|preauth_transaction)_(?P<merchant>\d+)_(?P<day>\d{8})\d{6}_\d{14}")
_YEN: Final = re.compile(r"-?\d{1,11}")
_EAST: Final = "\u3000"
_BOMS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class FileName:
    """What the name of a file says; None where it does not say it."""

    layout: Layout
    merchant_id: str | None
    day: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One row: ``line`` counts from 1, the header's. Yen are negative for a refund of instant payments.

    ``order_id`` is PayPay's id of the payment, ``own_id`` ours of what was done: a payment, capture, revert or refund.
    """

    line: int
    cells: Mapping[str, str]
    order_id: str = ""
    merchant_id: str = ""
    status: str = ""
    at: datetime | None = None
    amount_jpy: int | None = None
    own_id: str = ""


@dataclass(slots=True)
class Found:
    """What reading a whole file found."""

    layout: Layout
    encoding: str
    columns: Sequence[str]
    row_count: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    completed_jpy: int = 0
    refunded_jpy: int = 0

    def count(self, row: FileRow) -> None:
        self.row_count += 1
        if row.status:
            word = row.status[:STATUS_CHARS_MAX]
            self.statuses[word if word in self.statuses or len(self.statuses) < STATUSES_MAX else OTHER_STATUS] += 1
        if row.status == "COMPLETED":
            self.completed_jpy += row.amount_jpy or 0
        elif row.status == "REFUNDED":
            self.refunded_jpy -= abs(row.amount_jpy or 0)


def read_name(file_name: str) -> FileName:
    """Layout, merchant and day, as PayPay writes them into the name."""
    found = _NAME.match(file_name)
    if found is None:
        return FileName("other", None, None)
    layout: Layout = "instant" if found["kind"] == "transaction" else "capture"
    try:
        day = datetime.strptime(found["day"], "%Y%m%d").date()  # noqa: DTZ007 - a day in Japan, as it is written
    except ValueError:
        day = None
    return FileName(layout, found["merchant"], day)


def next_rows(rows: Iterator[FileRow]) -> list[FileRow]:
    """Some more rows; none at the end."""
    return list(islice(rows, ROWS_AT_ONCE))


class TransactionFile:
    """A file that is being read: its ``found`` grows with every row."""

    def __init__(self, content: IO[bytes], layout: Layout) -> None:
        """Read the header. Raises UnreadableError, which says where."""
        encoding = encoding_of(content)
        self._is_whole = _ends_with_a_line_feed(content)
        content.seek(0)
        # No second byte of a character is a line feed in Shift_JIS, so that lines may be cut before they are decoded.
        self._reader = csv.reader(_texts(content, encoding), strict=True)
        columns = self._line()
        if columns is None:
            raise UnreadableError("the file is empty", line=1, column=1)
        _judge_header(columns, COLUMNS[layout])
        self.found = Found(layout, encoding, columns)

    def rows(self) -> Iterator[FileRow]:
        """Every row behind the header, once. Raises UnreadableError, which says where."""
        cells = self._row()
        while cells is not None:
            line, following = self._reader.line_num, self._row()
            if following is None and not self._is_whole:
                self._judge_end(line, cells)
            row = _read(line, cells, self.found)
            self.found.count(row)
            yield row
            cells = following
        if self.found.row_count == 0 and not self._is_whole:
            raise UnreadableError("the file ends in the middle of its header", line=1, column=len(self.found.columns))

    def _row(self) -> list[str] | None:
        cells = self._line()
        columns = self.found.columns
        if cells is not None and len(cells) != len(columns):
            message = f"expected {len(columns)} columns, found {len(cells) or 'an empty line'}"
            column = min(len(cells), len(columns)) + 1
            raise UnreadableError(message, line=self._reader.line_num, column=column)
        return cells

    def _line(self) -> list[str] | None:
        try:
            cells = next(self._reader, None)
        except csv.Error as error:
            where = max(1, self._reader.line_num)
            raise UnreadableError(f"expected a line of CSV, {error}", line=where, column=1) from None
        for number, cell in enumerate(cells or (), 1):
            if "\0" in cell:
                raise UnreadableError("expected text, found a NUL", line=self._reader.line_num, column=number)
        return cells

    def _judge_end(self, line: int, cells: Sequence[str]) -> None:
        """A last line without its end may be half a line: it counts only where its last published cell is whole."""
        if self.found.layout == "other":
            return
        column = list(self.found.columns).index(COLUMNS[self.found.layout][_DETAILS])
        if column + 1 == len(cells) and not _is_json(cells[column]):
            raise UnreadableError("the file ends in the middle of this line", line=line, column=column + 1)


def encoding_of(content: IO[bytes]) -> str:
    """``shift_jis``, or ``cp932`` where that is not enough. Raises UnreadableError for any other encoding.

    Text that was read and written anew as UTF-8 on its way often decodes as cp932 too, into something else: it is
    recognised by being UTF-8 of the east from end to end.
    """
    content.seek(0)
    encoding, strange_line, is_utf8, is_eastern = "shift_jis", 0, True, False
    # Never a whole line of a file that has none: 200 MiB of it would stand in memory before it was refused.
    for number, line in enumerate(iter(lambda: content.readline(LINE_BYTES_MAX + 1), b""), 1):
        if number == 1 and line.startswith(_BOMS):
            raise UnreadableError("expected Shift_JIS, found the mark of Unicode: it was re-encoded", line=1, column=1)
        if len(line) > LINE_BYTES_MAX:
            raise UnreadableError(f"expected lines of at most {LINE_BYTES_MAX} bytes", line=number, column=1)
        if line.isascii():
            continue
        strange_line = strange_line or number
        if is_utf8:
            as_utf8 = _decoded(line, "utf-8")
            is_utf8 = as_utf8 is not None
            is_eastern = is_eastern or any(letter >= _EAST for letter in as_utf8 or "")
        if encoding == "shift_jis" and _decoded(line, encoding) is None:
            encoding = "cp932"
        if encoding == "cp932" and not (is_utf8 and is_eastern):
            _refuse_strange(line, number)
    if is_utf8 and is_eastern:
        raise UnreadableError("expected Shift_JIS, found UTF-8: it was re-encoded", line=strange_line, column=1)
    return encoding


def _refuse_strange(line: bytes, number: int) -> None:
    try:
        line.decode("cp932")
    except UnicodeDecodeError as error:
        message = f"expected Shift_JIS, found the byte 0x{line[error.start]:02x}"
        raise UnreadableError(message, line=number, column=error.start + 1) from None


def _decoded(line: bytes, encoding: str) -> str | None:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return None


def _texts(content: IO[bytes], encoding: str) -> Iterator[str]:
    """The lines as text. A file that is UTF-8 only up to some line is found out here: until then it may be either."""
    for number, line in enumerate(content, 1):
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            message = f"expected Shift_JIS, found the byte 0x{line[error.start]:02x}"
            raise UnreadableError(message, line=number, column=error.start + 1) from None


def _ends_with_a_line_feed(content: IO[bytes]) -> bool:
    size = content.seek(0, io.SEEK_END)
    if size == 0:
        return True
    content.seek(size - 1)
    return content.read(1) == b"\n"


def _judge_header(columns: Sequence[str], published: Sequence[str]) -> None:
    if len(columns) > COLUMNS_MAX:
        raise UnreadableError(f"expected at most {COLUMNS_MAX} columns, found {len(columns)}", line=1, column=1)
    if len(set(columns)) != len(columns):
        twice = next(number for number, name in enumerate(columns, 1) if name in columns[: number - 1])
        raise UnreadableError("two columns have the same title", line=1, column=twice)
    for number, name in enumerate(published, 1):
        if name not in columns:
            found = columns[number - 1] if number <= len(columns) else "nothing"
            raise UnreadableError(f"expected the column {name}, found {found[:50]!r}", line=1, column=number)


def _read(line: int, cells: Sequence[str], found: Found) -> FileRow:
    by_name = dict(zip(found.columns, cells, strict=True))
    if found.layout == "other":
        return FileRow(line=line, cells=by_name)
    titles = COLUMNS[found.layout]

    def cell(number: int) -> str:
        return by_name[titles[number]].strip()

    def fail(number: int, expected: str) -> UnreadableError:
        column = list(found.columns).index(titles[number]) + 1
        return UnreadableError(f"{titles[number]}: expected {expected}", line=line, column=column)

    if not cell(_ORDER):
        raise fail(_ORDER, "PayPay's id of the payment, found nothing")
    if not _YEN.fullmatch(cell(_AMOUNT)):
        raise fail(_AMOUNT, f"whole yen, found {cell(_AMOUNT)[:20]!r}")
    at = _time(cell(_AT))
    if at is None:
        raise fail(_AT, f"a time, found {cell(_AT)[:30]!r}")
    status = cell(_STATUS)
    return FileRow(
        line=line,
        cells=by_name,
        order_id=cell(_ORDER),
        merchant_id=cell(_MERCHANT),
        status=STATUSES.get(status, status),
        at=at,
        amount_jpy=int(cell(_AMOUNT)),
        own_id=cell(_OWN_ID),
    )


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=JAPAN)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False
