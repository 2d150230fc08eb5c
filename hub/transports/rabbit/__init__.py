"""RabbitMQ: ``HUB_BROKER_URL=amqp://…``.

Begin with ``transport.py``; ``link.py`` is the connection below it. What it does for people: docs/rabbitmq.md.
"""

from hub.transports.rabbit.transport import RabbitTransport

__all__ = ["RabbitTransport"]
