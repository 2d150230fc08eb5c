"""One seed, one run: a whole hub on a virtual clock among senders and providers that go wrong by the seed's draws.

Begin with ``run.py``; ``python -m tests.simulation --seed N`` plays one run and shrinks what fails.
"""
