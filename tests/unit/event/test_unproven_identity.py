"""A message whose sender is not proven yet is known by all of its body, and by nothing that it says of itself."""

from __future__ import annotations

import json
from functools import cache
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from hub.inbox.drafting import Drafter
from hub.inbox.received import Received
from tests.support.clock import SettableClock
from tests.support.parts import wiring_of

ROUTING = """
version: 1
sources:
  gate:
    webhook: { path: /webhooks/gate, auth: { scheme: none } }
    event: { type: gate.received, id: body_hash }
    verify: deferred
destinations:
  out: { queue: out }
routes:
  - { name: forward, match: "#", publish: out }
"""
bodies = st.builds(
    lambda id_, amount, gap: json.dumps({"id": id_, "amount": amount}, indent=gap).encode(),
    st.sampled_from(["e-1", "e-2"]),
    st.integers(0, 3),
    st.sampled_from([None, 1]),
)


@cache
def drafter() -> Drafter:
    return wiring_of(ROUTING, {}, SettableClock()).drafter


@given(st.lists(bodies, min_size=2, max_size=6))
def test_two_bodies_never_share_an_identity_and_one_has_always_the_same(sent: list[bytes]) -> None:
    drafts = [drafter().draft(Received(source="gate", body=body, routing_key="")) for body in sent]

    for (one, a), (other, b) in combinations(zip(sent, drafts, strict=True), 2):
        assert (one == other) == (a.id_hash == b.id_hash)
