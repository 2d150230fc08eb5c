"""Old events leave the tables for an archive, where they can still be read. Begin in ``pruning.py``.

``choosing`` says which may go, ``record`` what belongs to an event and how it is written down, ``archive`` reads it.
Source: docs/retention.md.
"""
