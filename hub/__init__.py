"""The hub's engine: accept events, route them by rules, deliver them once, keep the books, publish the results.

Begin with ``hub/app.py`` (how the parts are put together) and follow one event through ``inbox``, ``routing``,
``deliver``, ``ledger`` and ``outbox``. Nothing here knows a provider or a business word.
"""
