"""Measurements, as ratios within one run: ``make bench``. Begin with ``__main__.py``; see docs/performance.md.

No promise is switched off for a figure, and every run is judged for correctness before its figure counts.
"""

from benchmarks.deposits import Deposit, credit
from hub.capability import Capability

capability = Capability(name="bench", handlers={"credit": credit}, schemas={"Deposit": Deposit})
