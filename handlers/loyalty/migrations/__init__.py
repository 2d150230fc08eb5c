"""The branch of the loyalty tables."""
