"""What an operator asks and does: the functions behind the command line and the console. Nothing is printed here.

Begin with ``event_details.py`` (everything about one event), ``parked.py`` (retry, discard, edit) and ``equation.py``
(is all accounted for?). What acts is guarded by the state it expects and leaves a row in ``operations``.
"""
