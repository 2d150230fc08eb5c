"""Delivering: one event x one route, once, in order per chain, retried and in the end parked.

Begin with ``worker.py`` (the loop), then ``picker.py`` (what may run), ``batch.py`` (running it in one transaction) and
``settle.py`` (what becomes of it). ``context.py`` is what a handler holds in its hands.
"""
