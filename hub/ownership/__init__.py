"""Who may work on what: workers, their fences and leases, and the lanes that they share out among themselves.

Begin with ``member.py``. Source: docs/decisions/0004-ownership.md.
"""
