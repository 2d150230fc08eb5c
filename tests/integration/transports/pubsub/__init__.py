"""Google Pub/Sub beyond the contract: what it is told, what it answers, and what happens when it misbehaves."""
