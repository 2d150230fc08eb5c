"""Cut the hub off at every point where it touches the world, start it again, judge what is left. See README.md."""
