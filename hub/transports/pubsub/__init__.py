"""Google Pub/Sub: exchanges and queues as topics and subscriptions. See docs/pubsub.md.

Begin with ``transport.py``; ``layout.py`` says which topic and subscription stands for what.
"""

from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.transport import PubSubTransport

__all__ = ["PubSubAddress", "PubSubTransport"]
