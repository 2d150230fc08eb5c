"""What the hub is compared with, each written as a good engineer would who does the usual thing.

``models.py`` is the usual ORM transaction, which three of them share. Each is a program of its own:
``python -m benchmarks.baselines.NAME``, told where things are by BENCH_… variables. What they promise is the unit of
work of docs/performance.md, "What is measured".
"""
