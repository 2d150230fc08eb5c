"""When two messages are one: identity is (source, dedupe id), claimed for ever.

Sameness, what makes a repeat a duplicate and not a conflict, is in ``hub/routing/sameness.py``.
Source: docs/guarantees.md, "Effects happen once".
"""

from __future__ import annotations

import hashlib

from hub.event import stable_hash


def identity_hash(source: str, dedupe_id: str) -> bytes:
    """16 bytes that stand for this identity for ever."""
    return stable_hash("identity", source, dedupe_id)


def own_identity(source: str, type_: str, dedupe_id: str) -> bytes:
    """The identity of an event that the hub makes: an id is unique among the events, or commands, of one type.

    Two handlers may name different things by the same order's number, and two commands come with the same request's.
    """
    return stable_hash("own identity", source, type_, dedupe_id)


def claimed_identity(capability: str, kind: str, id_: str) -> bytes:
    """The identity that a handler claims for an event once its sender is proven, within its capability."""
    return stable_hash("claimed", capability, kind, id_)


def unreadable_identity(source: str, body: bytes) -> bytes:
    """The identity of a body that could not be read: itself. A sender that repeats it is stored once."""
    return stable_hash("unreadable", source, hashlib.sha256(body).digest())


def carrier_identity(source: str, carrier_ref: str) -> bytes:
    """The identity of a message without an id, by its place in a queue that never gives one place to two messages."""
    return stable_hash("carrier", source, carrier_ref)
