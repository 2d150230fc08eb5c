"""A hub has as many file descriptors as its user may have."""

from __future__ import annotations

import subprocess
import sys


def test_the_soft_limit_goes_up_to_the_hard_one() -> None:
    program = (
        "import resource; from hub.cli.descriptors import raise_descriptors\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 900)); raise_descriptors(); raise_descriptors()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert said.stdout.split() == ["900", "900"]
