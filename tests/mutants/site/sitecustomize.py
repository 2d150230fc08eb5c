"""Python reads this at its start where it is on the path: a hub in a process of its own becomes the mutant, too."""

from __future__ import annotations

import os

if os.environ.get("HUB_TEST_MUTANT"):
    from tests.mutants.planting import planted

    _mutant = planted()
    assert _mutant is not None
    # As long as the process lives.
    _mutant.__enter__()
