"""The hub's table of how old a program may be that works on these tables."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from hub.store.metadata import metadata

compatibility = Table(
    "compatibility",
    metadata,
    Column("branch", String(100), primary_key=True),
    Column("since", String(32), nullable=False),
    comment="By branch of migrations: a program that knows this migration may work on the tables",
)
