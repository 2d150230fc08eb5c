"""The relay on both databases, with a broker whose faults are scripted."""
