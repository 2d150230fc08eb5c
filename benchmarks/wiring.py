"""The wiring of the hub under measurement: one source, one handler, one destination, among routes that do not match."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

SECRET = "bench-webhook-secret"
PATH = "/webhooks/bench"
OTHER_ROUTES = 99


@dataclass(frozen=True, slots=True)
class Names:
    """The broker's objects of one run; a random suffix keeps runs apart."""

    suffix: str = field(default_factory=lambda: uuid4().hex[:10])

    @property
    def queue_in(self) -> str:
        return f"bench.in.{self.suffix}"

    @property
    def exchange_in(self) -> str:
        return f"bench.events.{self.suffix}"

    @property
    def queue_out(self) -> str:
        return f"bench.credited.{self.suffix}"


def write_routing(folder: Path, names: Names, *, other_routes: int = OTHER_ROUTES) -> Path:
    """Put routing.yaml into the folder."""
    path = folder / "routing.yaml"
    path.write_text(routing_yaml(names, other_routes=other_routes))
    return path


def routing_yaml(names: Names, *, other_routes: int = OTHER_ROUTES) -> str:
    """The whole file. The first attempt of a poison event is followed by two more, then it is parked."""
    others = "\n".join(
        f"  - {{ name: other-{number}, match: [other.n{number}.*, other.n{number}.x.#], publish: credited }}"
        for number in range(1, other_routes + 1)
    )
    return f"""\
version: 1
capabilities: [benchmarks.deposits]
sources:
  bench:
    webhook:
      path: {PATH}
      auth: {{ scheme: hmac, secret: "${{BENCH_SECRET}}", signature_header: X-Signature, template: "{{body}}" }}
    queue: {{ name: {names.queue_in}, exchange: {names.exchange_in} }}
    event: {{ type: bench.deposit, id: data.id, key: data.customer, schema: bench.Deposit }}
    reply: {{ ok: [200, {{ success: true }}] }}
destinations:
  credited: {{ queue: {names.queue_out} }}
routes:
  - name: credit
    match: bench.deposit
    handle: bench.credit
    publish: credited
    retry: {{ attempts: 3, first: 100ms, longest: 500ms }}
{others}
"""
