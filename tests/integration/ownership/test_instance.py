"""Whether a process has ended is known of those beside us, and never guessed of others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hub.ownership.instance import host_name, is_gone, own_instance

ASK = "from hub.ownership.instance import own_instance; print(own_instance(), flush=True); input()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def instance_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_living_process_is_not_gone_and_a_killed_one_is(child: subprocess.Popen[str]) -> None:
    instance = instance_of(child)
    assert not is_gone(host_name(), instance)

    child.kill()
    # Not yet waited for by its parent, it is still listed: as a zombie.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(host_name(), instance)

    child.wait()
    assert is_gone(host_name(), instance)


def test_our_own_number_at_another_start_is_a_former_life() -> None:
    home_and_pid, _, start = own_instance().rpartition(" ")

    assert not is_gone(host_name(), own_instance())
    assert is_gone(host_name(), f"{home_and_pid} {int(start) - 1}")


@pytest.mark.parametrize("part", ["host", "boot", "namespace", "unknown"])
def test_nothing_is_known_of_a_process_elsewhere(part: str) -> None:
    boot, namespace, _, _ = own_instance().split()
    no_such = "4194305 1"
    host, instance = {
        "host": ("another-host", f"{boot} {namespace} {no_such}"),
        "boot": (host_name(), f"another-boot {namespace} {no_such}"),
        "namespace": (host_name(), f"{boot} 1 {no_such}"),
        "unknown": (host_name(), ""),
    }[part]

    assert not is_gone(host, instance)
    assert is_gone(host_name(), f"{boot} {namespace} {no_such}")
