"""How many files a process may have open: each connection, of senders, databases and brokers, is one."""

from __future__ import annotations

import resource
from typing import Final

ENOUGH: Final = 65_536


def raise_descriptors() -> None:
    """Take as many as this user may have. A shell gives 1,024, for programs that cannot count further."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
