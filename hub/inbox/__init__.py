"""The inbox: every authenticated message is stored, byte for byte, before anyone is told that it arrived.

Begin with ``accept.py``; ``identity.py`` says when two messages are one.
"""
