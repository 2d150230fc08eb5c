"""The contract of a transport. A new one inherits ``TransportContract`` and says how it is opened; nothing else.

Each test is there because a transport that breaks it loses, repeats or reorders something: ``test_suite.py`` holds such
broken transports, and each of them is caught.
"""

from tests.contract.transports.consuming import ConsumingContract
from tests.contract.transports.opening import Open, Silence
from tests.contract.transports.publishing import PublishingContract

__all__ = ["Open", "Silence", "TransportContract"]


class TransportContract(PublishingContract, ConsumingContract):
    """Each test gets a broker of its own or names of its own; ``open`` connects to it, as often as a test likes."""
