"""Which process a worker is, so that one that is gone is known at once and a living one is never taken for dead.

A number of a process says nothing by itself: containers give out the same ones, and so does a machine that was started
again. Beside it stand the boot, the namespace in which the number counts, and the instant of the process's start.
Source: proc(5), pid_namespaces(7).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

HOST_CHARS_MAX = 200
_STATE, _STARTED = 0, 19
"""Fields of /proc/PID/stat behind the name: the state, and the start in clock ticks after the boot."""
_GONE_STATES = frozenset("ZX")


def host_name() -> str:
    """The name of this machine or container."""
    return socket.gethostname()[:HOST_CHARS_MAX]


def own_instance() -> str:
    """``BOOT NAMESPACE PID START`` of this process; empty where the system does not tell."""
    home = _neighbourhood()
    fields = _stat(os.getpid())
    return f"{home} {os.getpid()} {fields[_STARTED]}" if home and fields else ""


def is_gone(host: str, instance: str) -> bool:
    """Whether that process has certainly ended. Of one elsewhere nothing is known, so the answer is no."""
    home, _, process = instance.rpartition(" ")[0].rpartition(" ")
    if not instance or host != host_name() or home != _neighbourhood():
        return False
    fields = _stat(int(process))
    return not fields or fields[_STATE] in _GONE_STATES or fields[_STARTED] != instance.rpartition(" ")[2]


def _neighbourhood() -> str:
    """The boot and the namespace in which numbers of processes mean the same; empty where that cannot be read."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    try:
        # The name, which stands in brackets, may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
