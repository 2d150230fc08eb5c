"""The outbox: messages stored with the effect they tell of, sent until the broker has confirmed and routed each.

Begin with ``relay.py`` (the loop), then ``picker.py`` (what may be sent), ``marks.py`` (what becomes of it) and
``parked.py`` (what people may do).
"""

from hub.outbox.parked import ParkedMessage, discard_message, parked_messages, retry_message
from hub.outbox.relay import Relay

__all__ = ["ParkedMessage", "Relay", "discard_message", "parked_messages", "retry_message"]
