"""The way in: HTTP endpoints that prove a sender, cap what it may send, and hand the bytes to the inbox.

Begin with ``server.py``; ``schemes.py`` says how senders are proven, ``webhooks.py`` how one request becomes one event.
"""
