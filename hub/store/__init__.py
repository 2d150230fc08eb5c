"""Where everything is kept: one database, SQLite or PostgreSQL, opened once per process.

Begin with ``store.py`` (transactions) and ``tables.py`` (what is stored). Which way a statement goes:

- ``store.write`` and ``store.reading`` with SQLAlchemy's words: the default, for what belongs to one moment or fence;
- ``queries.Query``: a SELECT in SQLAlchemy's words that every batch asks, compiled once;
- ``direct.Direct``: a hot statement that SQLAlchemy cannot say, or not cheaply, in each database's own words;
- ``bulk``: many rows of one table; ``plain``: how many rows are read;
- ``alone.read_alone``, ``alone.write_alone``: one statement that needs no fence and no other beside it;
- ``session.open_session``: objects, for handlers alone.

``begun``, ``opening``, ``engines`` and ``sharing`` are what these stand on, and for SQLite ``inline``, ``sqlite_dbapi``
and ``sqlite_pace``: nobody else's concern.
Why hot statements pass by SQLAlchemy: docs/decisions/0012-past-sqlalchemy.md.
"""
