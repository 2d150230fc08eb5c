"""The hub's own branch, in order of their numbers."""
