"""Judges a proof of one event, with nothing of the hub but this file: ``python offline.py PROOF.json``.

Everything is worked out again from the rows in the proof: hashes, numbers, idempotency keys, message ids, sums. The
seal is followed from each row's leaf over its path to the root of its block. What a row's leaf is made of, and how
leaves become roots and roots a chain, is defined here; the hub seals with these same functions. It is one file on
purpose, however long: who judges copies it, reads it and trusts nothing else.
Source: docs/prove.md, "The canonical form".
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

FORMAT: Final = "hub proof 1"
LEAF, NODE, BRANCH, BLOCK = b"hub leaf 1", b"\x00", b"\x01", b"hub block 1"
FIRST_PREVIOUS: Final = bytes(32)
"""What the first block names as its predecessor."""
ROUTE_BITS: Final = 16
PROOF_BYTES_MAX: Final = 256 * 1024 * 1024

# --- the canonical form: the same bytes for the same values, whatever database held them ------------------------------

KINDS_OF_FIELDS: Final = ("int", "bool", "text", "time", "uuid", "bytes", "json")
"""time: microseconds since 1970 UTC; uuid: 32 hex digits; bytes, json: the SHA-256 of the content, in hex."""


def field_form(kind: str, value: Any) -> bytes:
    """One field: a letter for its type, then its value. Raises ValueError for a value that is not of the type."""
    if value is None:
        return b"N"
    match kind:
        case "int" | "time" if type(value) is int:
            return b"I%d" % value
        case "bool" if type(value) is bool:
            return b"B1" if value else b"B0"
        case "text" if type(value) is str:
            return b"S" + value.encode("utf-8", "surrogatepass")
        case "uuid" if type(value) is str and len(value) == 32:
            return b"U" + bytes.fromhex(value)
        case "bytes" | "json" if type(value) is str and len(value) == 64:
            return b"H" + bytes.fromhex(value)
    raise ValueError(f"expected a value of the type {kind}")


def leaf_of(kind: str, forms: Sequence[bytes]) -> bytes:
    """32 bytes that stand for a row: its kind and its sealed fields in their order, each with its length before it."""
    return hashlib.sha256(leaf_head(kind, len(forms)) + b"".join(map(sized, forms))).digest()


def leaf_head(kind: str, fields: int) -> bytes:
    """What a leaf begins with, before its fields."""
    return LEAF + len(kind).to_bytes(4, "big") + kind.encode() + fields.to_bytes(4, "big")


def sized(form: bytes) -> bytes:
    """A field with its length before it."""
    return len(form).to_bytes(8, "big") + form


def json_text(value: Any) -> bytes:
    """A JSON value as bytes: keys sorted, no blanks, a number without a fraction as an integer."""
    return _ENCODER.encode(_plain_numbers(value)).encode("utf-8", "surrogatepass")


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item if type(item) is str else _plain_numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_numbers(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        # As decimal digits say it: one database keeps 1e300 as written, the other as 301 digits.
        mantissa, _, exponent = repr(value).partition("e")
        whole, _, fraction = mantissa.partition(".")
        fraction = fraction.rstrip("0")
        return int(whole + fraction) * 10 ** (int(exponent or 0) - len(fraction))
    return value


# --- the tree of a block, and the chain of blocks ---------------------------------------------------------------------


def node_of(kind: str, number: int, key: str, leaf: bytes) -> bytes:
    """A member of a block: which row, and its leaf."""
    name = key.encode("utf-8", "surrogatepass")
    words = _word(kind.encode()) + _word(number.to_bytes(8, "big", signed=True)) + _word(name)
    return hashlib.sha256(NODE + words + leaf).digest()


def _word(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def levels_of(nodes: Sequence[bytes]) -> list[list[bytes]]:
    """The tree over these members, of which there is at least one: from them up to the root, which is alone."""
    levels = [list(nodes)]
    while len(levels[-1]) > 1:
        levels.append(list(_next_level(levels[-1])))
    return levels


def root_of(nodes: Sequence[bytes]) -> bytes:
    """The Merkle root of these members; the odd one at the end of a level moves up."""
    return levels_of(nodes)[-1][0]


def path_of(levels: Sequence[Sequence[bytes]], index: int) -> list[tuple[str, str]]:
    """What leads from one member to the root: the neighbours of each level, with the side on which they stand."""
    path = []
    for level in levels:
        neighbour = index ^ 1
        if neighbour < len(level):
            path.append(("left" if neighbour < index else "right", level[neighbour].hex()))
        index //= 2
    return path


def root_along(node: bytes, path: Iterable[Sequence[str]]) -> bytes:
    """The root to which a member and its path lead."""
    for side, neighbour in path:
        pair = bytes.fromhex(neighbour) + node if side == "left" else node + bytes.fromhex(neighbour)
        node = hashlib.sha256(BRANCH + pair).digest()
    return node


def _next_level(level: Sequence[bytes]) -> Iterator[bytes]:
    for place in range(0, len(level), 2):
        pair = level[place : place + 2]
        yield hashlib.sha256(BRANCH + b"".join(pair)).digest() if len(pair) == 2 else pair[0]


def block_hash(*, number: int, previous: bytes, root: bytes, members: int, sealed_at: int) -> bytes:
    """The hash of a block, which the next one names: 32 bytes. ``sealed_at`` in microseconds since 1970 UTC."""
    numbers = (number, members, sealed_at)
    words = b"".join(value.to_bytes(8, "big", signed=True) for value in numbers)
    return hashlib.sha256(BLOCK + words + previous + root).digest()


# --- names that the hub derives ---------------------------------------------------------------------------------------


def stable_hash(*parts: str | bytes) -> bytes:
    """16 bytes for these parts, lengths included: identities and idempotency keys are made so."""
    pieces = []
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        pieces += [len(data).to_bytes(8, "big"), data]
    return hashlib.blake2b(b"".join(pieces), digest_size=16).digest()


def stable_uuid(*parts: str | bytes) -> str:
    """The same as the text of a UUID of version 8: message ids are made so."""
    data = bytearray(stable_hash(*parts))
    data[6], data[8] = data[6] & 0x0F | 0x80, data[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(data)))


# --- judging ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One step of the proof: what it is about, whether it holds, and what was found."""

    step: str
    ok: bool
    detail: str


class NotAProofError(ValueError):
    """The file is no proof, or not one that this program can read."""


def judge(proof: Mapping[str, Any]) -> list[Finding]:
    """Every step of a proof, in the order in which things happened. Raises NotAProofError."""
    try:
        return list(_Judge(proof).findings())
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise NotAProofError(f"not a proof of the form {FORMAT!r}: {type(error).__name__} {error}") from error


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    id: int
    key: str
    names: tuple[str, ...]
    fields: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]["value"]

    def content(self, name: str) -> bytes | None:
        """The content of a field of which the leaf holds the hash; None where the proof withholds it."""
        text = self.fields[name].get("content")
        if text is None:
            return None
        return base64.b64decode(text) if self.fields[name]["type"] == "bytes" else str(text).encode()

    @property
    def leaf(self) -> bytes:
        return leaf_of(self.kind, [field_form(self.fields[name]["type"], self[name]) for name in self.names])


class _Judge:
    def __init__(self, proof: Mapping[str, Any]) -> None:
        if proof["format"] != FORMAT:
            raise NotAProofError(f"expected the format {FORMAT!r}, found {proof['format']!r}")
        self._proof = proof
        self._rows = [_row(one) for one in proof["rows"]]
        [self._event] = self._of("event")
        self._event_id = str(UUID(self._event["id"]))

    def _of(self, kind: str) -> list[_Row]:
        return [row for row in self._rows if row.kind == kind]

    def findings(self) -> Iterator[Finding]:
        yield from self._contents()
        yield from self._received()
        deliveries = self._of("delivery")
        if not deliveries:
            yield Finding("rule", ok=True, detail="no rule took it")
        for delivery in deliveries:
            yield from self._delivery(delivery)
        yield from self._strangers({row["id"] for row in deliveries})
        yield from self._seal()

    def _contents(self) -> Iterator[Finding]:
        """Each row is there once, and content that is in the proof has the hash that is in its row."""
        seen = set()
        for row in self._rows:
            name = (row.kind, row.id, row.key)
            if name in seen:
                # One of them follows to its block, the other would pass beside it.
                yield Finding("content", ok=False, detail=f"{_name(row)} is there twice")
            seen.add(name)
            for field in row.names:
                content = row.content(field)
                if content is None:
                    continue
                if row.fields[field]["type"] == "json":
                    content = json_text(json.loads(content))
                found = hashlib.sha256(content).hexdigest()
                if found != row[field]:
                    yield Finding("content", ok=False, detail=f"{_name(row)} {field} has another hash: {found}")

    def _received(self) -> Iterator[Finding]:
        event = self._event
        payload = event.content("payload")
        size = f"{len(payload)} bytes, " if payload is not None else "content withheld, "
        known = self._event_id == str(UUID(self._proof["event_id"])) and event.id == event["seq"]
        yield Finding("bytes", ok=known, detail=f"{size}sha256 {event['payload']}")
        verdict = event["verdict"]
        is_word = verdict in ("valid", "trusted", "none", "undecided", "simulated")
        yield Finding("verification", ok=is_word, detail=f"the sender was judged {verdict}")
        yield from self._identity()

    def _identity(self) -> Iterator[Finding]:
        event, dedupe_id = self._event, self._event["dedupe_id"]
        if dedupe_id is None:
            yield Finding("identity", ok=True, detail="none: an event of its own")
            return
        made = {
            stable_hash("identity", event["source"], dedupe_id).hex(),
            stable_hash("own identity", event["source"], event["type"], dedupe_id).hex(),
        }
        held = [one for one in self._proof["identities"] if one["id_hash"] in made]
        ok = any(str(UUID(one["event_id"])) == self._event_id for one in held)
        holder = "held by this event" if ok else "not held by this event"
        yield Finding("identity", ok=ok, detail=f"dedupe id {dedupe_id} of {event['source']}, {holder}")

    def _delivery(self, row: _Row) -> Iterator[Finding]:
        event = self._event
        route = self._proof["routes"].get(str(row["route_id"]))
        number = event["seq"] << ROUTE_BITS | row["route_id"]
        ok = row["id"] == row.id == number and row["event_seq"] == event["seq"] and row["event_id"] == event["id"]
        ok = ok and route is not None
        detail = f"{route}: {row['state']}" + (f", {row['outcome']}" if row["outcome"] else "")
        yield Finding("rule", ok=ok, detail=f"{detail}, failed attempts {row['attempts']}")
        for call in self._of("call"):
            if call["delivery_id"] == row["id"]:
                yield self._call(call, row)
        for entry in self._of("entry"):
            if entry["delivery_id"] == row["id"]:
                yield from self._entry(entry)
        messages = [one for one in self._of("message") if one["delivery_id"] == row["id"]]
        ids = [
            stable_uuid("message", self._event_id, str(row["route_id"]), str(number))
            for number in range(1, len(messages) + 1)
        ]
        for message in messages:
            ok = message["message_id"] in ids and message["event_id"] == event["id"]
            where = f"to {message['destination']}, {message['state']}"
            yield Finding("message", ok=ok, detail=f"{message['message_id']} {where}")

    def _call(self, call: _Row, delivery: _Row) -> Finding:
        made = stable_hash("call", self._event_id, str(delivery["route_id"]), call["step"]).hex()
        whose = "of event, route and step" if call["key"] == made else "given by the handler"
        has_answer = call["state"] in ("settled", "declined", "not_found")
        # An open call may stay behind a delivery whose later events ask on; a verdict has its time.
        ok = (not has_answer or call["settled_at"] is not None) and call.key == f"{call['step']}#{call['number']}"
        where = f"{call['provider']}.{call['step']}#{call['number']}"
        return Finding("call", ok=ok, detail=f"{where} under key {call['key']} ({whose}): {call['state']}")

    def _entry(self, entry: _Row) -> Iterator[Finding]:
        codes = {row["id"]: row for row in self._of("account")}
        moves = sorted(
            (row for row in self._of("move") if row["entry_id"] == entry["id"]), key=lambda row: row["position"]
        )
        sums: dict[str, int] = {}
        told, ok = [], [row["position"] for row in moves] == list(range(1, entry["move_count"] + 1))
        ok = ok and entry["event_id"] == self._event["id"]
        for row in moves:
            debit, credit = codes.get(row["debit_account"]), codes.get(row["credit_account"])
            ok = ok and row["amount"] > 0 and debit is not None and credit is not None and debit is not credit
            if debit is None or credit is None:
                continue
            ok = ok and debit["currency"] == row["currency"] == credit["currency"]
            for amount in (row["amount"], -row["amount"]):
                sums[row["currency"]] = sums.get(row["currency"], 0) + amount
            told.append(f"{row['amount']} {row['currency']} from {credit['code']} to {debit['code']}")
        ok = ok and not any(sums.values())
        yield Finding("entry", ok=ok, detail=f"{entry['reference']} ({entry['kind']}): {'; '.join(told)}")

    def _strangers(self, deliveries: set[int]) -> Iterator[Finding]:
        """Rows that belong to no delivery of this event."""
        for row in self._rows:
            if row.kind in ("call", "message") and row["delivery_id"] not in deliveries:
                yield Finding(row.kind, ok=False, detail=f"{_name(row)} belongs to no delivery of this event")
            elif row.kind == "entry" and row["delivery_id"] not in deliveries:
                yield from self._entry(row)

    def _seal(self) -> Iterator[Finding]:
        seal = self._proof["seal"]
        blocks = {}
        for one in seal["blocks"]:
            blocks[one["number"]] = one
            found = block_hash(
                number=one["number"],
                previous=bytes.fromhex(one["previous"]),
                root=bytes.fromhex(one["root"]),
                members=one["members"],
                sealed_at=one["sealed_at"],
            )
            if found.hex() != one["hash"]:
                yield Finding("seal", ok=False, detail=f"block {one['number']} has another hash")
        paths = {(one["kind"], one["id"], one["key"]): one for one in seal["paths"]}
        sealed = 0
        for row in self._rows:
            path = paths.pop((row.kind, row.id, row.key), None)
            if path is None:
                continue
            sealed += 1
            root = root_along(node_of(row.kind, row.id, row.key, row.leaf), path["path"])
            if root.hex() != blocks[path["block"]]["root"]:
                yield Finding("seal", ok=False, detail=f"{_name(row)} is not what block {path['block']} has sealed")
        for kind, number, key in paths:
            yield Finding("seal", ok=False, detail=f"{kind} {number}{key and ' '}{key} was sealed and is not there")
        yield Finding("seal", ok=True, detail=f"{sealed} rows follow to their blocks, {self._open()} are not sealed")
        for one in blocks.values():
            yield Finding("block", ok=True, detail=f"{one['number']} {one['hash']}")

    def _open(self) -> int:
        paths = {(one["kind"], one["id"], one["key"]) for one in self._proof["seal"]["paths"]}
        return sum((row.kind, row.id, row.key) not in paths for row in self._rows if row.kind != "correction")


def _row(one: Mapping[str, Any]) -> _Row:
    fields = one["fields"]
    if any(field["type"] not in KINDS_OF_FIELDS for field in fields):
        raise NotAProofError("a field of a type that is not known")
    named = {field["name"]: field for field in fields}
    return _Row(one["kind"], int(one["id"]), one["key"], tuple(field["name"] for field in fields), named)


def _name(row: _Row) -> str:
    return f"{row.kind} {row.id}" + (f" {row.key}" if row.key else "")


def _printable(text: str) -> str:
    """A line as a terminal may show it: whoever made the file may have put commands for the terminal into it."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def main(arguments: Sequence[str], say: Callable[[str], object] = print) -> int:
    """Judge one file: 0 everything holds, 1 something does not, 2 it cannot be read."""
    if len(arguments) != 1:
        say("usage: python offline.py PROOF.json")
        return 2
    try:
        with Path(arguments[0]).open("rb") as file:
            text = file.read(PROOF_BYTES_MAX + 1)
        if len(text) > PROOF_BYTES_MAX:
            raise NotAProofError("the file is too large")
        findings = judge(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        say(_printable(f"error {error}"))
        return 2
    for one in findings:
        say(_printable(f"{'ok ' if one.ok else 'NOT'} {one.step:12} {one.detail}"))
    return 0 if all(one.ok for one in findings) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
