"""What a database says about itself, in a form that two databases can be compared by."""

from __future__ import annotations

import re
from typing import TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Catalogue: TypeAlias = dict[str, list[str]]

POSTGRESQL = {
    "columns": """
SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) ||
       CASE WHEN a.attnotnull THEN ' not null' ELSE '' END ||
       coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "views": "SELECT viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public'",
    "sequences": "SELECT sequencename || ' ' || data_type"
    "  || ' ' || start_value || ' ' || increment_by FROM pg_sequences",
    "comments": "SELECT relname || ': ' || obj_description(oid) FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace",
}


async def catalogue_of(conn: AsyncConnection) -> Catalogue:
    """Everything but the tables of the migrations themselves, sorted."""
    if conn.dialect.name == "sqlite":
        found = await _sqlite(conn)
    else:
        found = {name: [row[0] for row in await conn.execute(text(query))] for name, query in POSTGRESQL.items()}
    return {
        name: sorted(line for line in lines if line and "alembic_version" not in line) for name, lines in found.items()
    }


async def _sqlite(conn: AsyncConnection) -> Catalogue:
    objects = list(await conn.execute(text("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")))
    found: Catalogue = {"tables": [], "columns": [], "checks": [], "foreign keys": [], "unique": [], "rest": []}
    for kind, name, sql in objects:
        if kind != "table":
            found["rest"].append(f"{kind} {name} {' '.join(sql.split())}")
            continue
        found["tables"].append(f"{name} {sql.rpartition(')')[2].strip()}")
        for row in await conn.execute(text(f"PRAGMA table_xinfo({name})")):
            found["columns"].append(f"{name} {tuple(row)[1:]}")
        for row in await conn.execute(text(f"PRAGMA foreign_key_list({name})")):
            found["foreign keys"].append(f"{name} {tuple(row)[1:]} {'DEFERR' in sql}")
        for row in await conn.execute(text(f"PRAGMA index_list({name})")):
            columns = [column[2] for column in await conn.execute(text(f"PRAGMA index_info({row[1]})"))]
            found["unique"].append(f"{name} {tuple(row)[2:]} {columns}")
        found["checks"] += [f"{name} {check}" for check in _checks_in(sql)]
    return found


def _checks_in(sql: str) -> list[str]:
    """Each check with its name, whether it stands in a column or by itself."""
    found = []
    for match in re.finditer(r"CONSTRAINT (\w+) CHECK \(", sql):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        found.append(f"{match.group(1)} {sql[match.end() : end - 1]}")
    return found
