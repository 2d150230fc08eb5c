"""The seal: a chain of blocks over everything that is final, by which a change made past the hub is found later.

``sealer.py`` appends blocks: of what ``finding.py`` finds, to ``chain.py``'s head, with ``sweeping.py`` behind it.
``verifying.py`` holds the tables against them, ``members.py`` says what is sealed. What a leaf and a block are made of
is in ``hub/prove/offline.py``. Source: docs/prove.md.
"""
