"""What the seal tells Prometheus."""

from prometheus_client import Counter, Gauge

HEAD_NUMBER = Gauge("hub_seal_head_number", "Number of the newest block of the seal")
HEAD_HASH = Gauge("hub_seal_head_hash48", "The first 48 bits of the newest block's hash, as a number")
SEALED = Counter("hub_seal_members_total", "Rows that this process has sealed", ["kind"])
LAG_S = Gauge("hub_seal_lag_seconds", "How long ago everything that was final then was sealed")
