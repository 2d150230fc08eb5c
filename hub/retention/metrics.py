"""What pruning tells Prometheus."""

from prometheus_client import Counter, Gauge

ARCHIVED = Counter("hub_archived_total", "Events, and late repeats of events, that went into the archive", ["sort"])
OBJECTS = Counter("hub_archive_objects_total", "Objects written to the archive")
FAILED = Counter("hub_prune_failed_total", "Runs of pruning that ended early because the storage or database failed")
LAST_S = Gauge("hub_prune_last_timestamp_seconds", "When a run of pruning last came to its end in this process")
