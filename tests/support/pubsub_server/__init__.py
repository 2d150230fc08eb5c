"""A server that speaks Google Pub/Sub's protocol, for tests: real clients connect to it over gRPC. See README.md.

Begin with ``server.py``; ``subscriptions.py`` holds the rules of delivery, ``faults.py`` what a test can break.
"""

from tests.support.pubsub_server.faults import Faults
from tests.support.pubsub_server.server import PubSubServer

__all__ = ["Faults", "PubSubServer"]
