"""Migrations of the hub's own tables, and ``draft``, which writes the beginning of a new one.

A migration that has been released is never changed. Source: docs/operations.md, "Upgrades".
"""
