"""How many lanes this process has."""

from prometheus_client import Gauge

LANES_OWNED = Gauge("hub_lanes_owned", "Lanes of this process", ["kind"])
