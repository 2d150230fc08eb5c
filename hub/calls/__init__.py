"""Calls to providers: on record before they are sent, never sent again before the provider was asked about them.

Begin with ``record.py``; ``outcome.py`` has the closed set of what a provider may have done.
"""
