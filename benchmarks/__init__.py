"""Measurements, as ratios within one run: ``make bench``. Begin with ``__main__.py``; see docs/performance.md.

No promise is switched off for a figure, and every run is judged for correctness before its figure counts. Nothing is
imported here: the baselines live below this package, and must not carry the hub in their memory.
"""
