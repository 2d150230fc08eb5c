"""One hub at the machine's speed for as long as one likes: what it holds must not grow. Begin with ``run.py``."""
