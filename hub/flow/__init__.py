"""Flow control: how much may go to a provider or a destination at once, and what stands still for a while.

Begin with ``flow.py`` (what a process knows), then ``provider.py`` (the turn that every call takes), ``circuit.py`` and
``bucket.py`` (the arithmetic), ``pauses.py`` (the rows that all processes share).
"""
