"""The console under ``/console``: pages for the person on call, made on the server, readable without scripts.

Begin with ``app.py`` (how a request becomes a page) and ``pages/`` (one module per group of pages, listed in its
``__init__.py``). ``people.py`` and ``sessions.py`` say who may look. What is done here is done by ``hub/operate``.
"""
