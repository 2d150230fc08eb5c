"""Moving a hub's database from SQLite to PostgreSQL, whole, with a proof. Begin in ``moving.py``.

Source: docs/backup.md, "From SQLite to PostgreSQL".
"""
