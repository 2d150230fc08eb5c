"""The two flows from end to end, through a running hub."""
