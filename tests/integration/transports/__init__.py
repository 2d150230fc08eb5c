"""Transports beyond their common contract."""
