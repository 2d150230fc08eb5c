"""Google's own Pub/Sub emulator, a Java program that comes with the Cloud SDK: found, started, stopped.

Source: cloud.google.com/pubsub/docs/emulator.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ADDRESS_VARIABLE = "HUB_TEST_PUBSUB_EMULATOR"
"""The address of an emulator that runs already."""
START_S_MAX = 180.0
STOP_S_MAX = 60.0
JAR_FOLDER = "platform/pubsub-emulator/lib"
SDK_FOLDERS = ("/usr/lib/google-cloud-sdk", "/opt/google-cloud-sdk", "~/google-cloud-sdk")


def find_jar() -> Path | None:
    """The emulator's program under a Cloud SDK of this machine."""
    gcloud = shutil.which("gcloud")
    folders = [os.environ.get("CLOUDSDK_ROOT_DIR", ""), str(Path(gcloud).resolve().parents[1]) if gcloud else ""]
    for folder in filter(None, [*folders, *SDK_FOLDERS]):
        found = sorted((Path(folder).expanduser() / JAR_FOLDER).glob("cloud-pubsub-emulator-*-all.jar"))
        if found:
            return found[-1]
    return None


def reason_to_skip() -> str | None:
    """Why the emulator cannot be used here; None when it can."""
    if os.environ.get(ADDRESS_VARIABLE):
        return None
    if find_jar() is None:
        return f"no Google Pub/Sub emulator: no Cloud SDK with {JAR_FOLDER}, and {ADDRESS_VARIABLE} is not set"
    return None if shutil.which("java") else "no Google Pub/Sub emulator: it needs java"


@contextlib.contextmanager
def emulator(log: Path) -> Iterator[str]:
    """The address of a running emulator: the one that is named, else one of our own."""
    if named := os.environ.get(ADDRESS_VARIABLE):
        yield named
        return
    jar, java = find_jar(), shutil.which("java")
    assert jar is not None
    assert java is not None
    port = _free_port()
    command = [java, "-Xmx512m", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _await_answer(f"127.0.0.1:{port}", process)
            yield f"127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S_MAX)


def _await_answer(address: str, process: subprocess.Popen[bytes]) -> None:
    host, port = address.split(":")
    end = time.monotonic() + START_S_MAX
    while True:
        assert process.poll() is None, "the emulator has ended"
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
            return
        assert time.monotonic() < end, "the emulator did not start in time"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
