"""Proof of one event: from the bytes that came to the postings and messages, every step worked out again.

Begin with ``offline.py``, which judges a proof and needs nothing but Python; ``document.py`` makes one out of stored
rows. Source: docs/prove.md.
"""
