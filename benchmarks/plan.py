"""How much is measured: a whole run for figures, a quick one to see that everything works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes in events, times in seconds. A drain below a second of work says little: the sizes avoid it."""

    repeats: int
    naive: int
    one_statement: int
    hub: int
    sql: int
    broker: int
    trouble: int
    webhook: int
    webhook_naive: int
    server_alone: int
    sqlite_naive: int
    sqlite_single: int
    sqlite: int
    grown: int
    pasts: tuple[int, ...]
    rules: tuple[int, ...]
    backlog: int
    profile: int
    profile_s: int
    profile_probe: int
    latency_s: float
    latency_probe: int


WHOLE = Plan(
    repeats=3,
    naive=2_000,
    one_statement=5_000,
    hub=20_000,
    sql=20_000,
    broker=30_000,
    trouble=15_000,
    webhook=20_000,
    webhook_naive=2_000,
    server_alone=20_000,
    sqlite_naive=1_500,
    sqlite_single=2_000,
    sqlite=20_000,
    grown=10_000,
    pasts=(0, 10_000, 100_000, 1_000_000),
    rules=(10, 100, 1_000),
    backlog=100_000,
    profile=30_000,
    profile_s=5,
    profile_probe=500,
    latency_s=12.0,
    latency_probe=10_000,
)
QUICK = Plan(
    repeats=1,
    naive=400,
    one_statement=800,
    hub=3_000,
    sql=4_000,
    broker=10_000,
    trouble=2_000,
    webhook=2_000,
    webhook_naive=300,
    server_alone=4_000,
    sqlite_naive=300,
    sqlite_single=500,
    sqlite=3_000,
    grown=1_500,
    pasts=(0, 10_000),
    rules=(10, 1_000),
    backlog=6_000,
    profile=4_000,
    profile_s=2,
    profile_probe=200,
    latency_s=3.0,
    latency_probe=2_000,
)
