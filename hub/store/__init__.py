"""Where everything is kept: one database, SQLite or PostgreSQL, opened once per process.

Begin with ``store.py`` (transactions) and ``tables.py`` (what is stored).
"""
