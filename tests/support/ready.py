"""``hub`` commands at the price of a fork: a process has imported all of it, and forks for each one that it is asked.

A page of twenty commands is read in half a minute, and run in one when each of them is a Python that imports the hub
first. As a script with a number this is that process (the number is a socket that listens); with a path and a command
it is the one who asks, and hands over what it was started with: arguments, environment, folder, and the three streams.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


def serve(listener: socket.socket) -> None:
    """Import first: whoever asks meanwhile waits in the queue of the socket."""
    _import_all()
    # Nobody asks how a fork has ended: it has said so itself.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        asking, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _die_with_the_parent()
            _answer(asking)
        asking.close()


def ask(path: str, arguments: list[str]) -> int:
    """Have one command run as if it had been started here. Its exit code; 1 where its process was killed."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        order = {"arguments": arguments, "environ": dict(os.environ), "folder": os.getcwd()}
        socket.send_fds(asking, [b"."], [0, 1, 2])
        asking.sendall(json.dumps(order).encode())
        asking.shutdown(socket.SHUT_WR)
        return int(asking.recv(16) or b"1")


def _import_all() -> None:
    import gc  # noqa: PLC0415 - the one who asks is to start at once
    import importlib  # noqa: PLC0415

    import hub.app  # noqa: F401, PLC0415 - what a command imports when it is called
    from hub.cli.catalogue import COMMANDS  # noqa: PLC0415
    from hub.routing.load import capability_names  # noqa: PLC0415
    from hub.wiring import load_capabilities  # noqa: PLC0415

    for commands in COMMANDS.values():
        for target, _ in commands.values():
            importlib.import_module(target.partition(":")[0])
    load_capabilities(capability_names(Path("routing.yaml")))
    gc.freeze()


def _die_with_the_parent() -> None:
    """Nobody is left behind by a test that has ended; elsewhere than on Linux, by one that has passed."""
    import ctypes  # noqa: PLC0415

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(asking: socket.socket) -> None:
    _, streams, _, _ = socket.recv_fds(asking, 1, 3)
    told = b""
    while some := asking.recv(65_536):
        told += some
    order = json.loads(told)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["folder"])
    code = _run(order["arguments"], order["environ"])
    asking.sendall(b"%d" % code)
    os._exit(0)


def _run(arguments: list[str], environ: Mapping[str, str]) -> int:
    from hub.cli import main  # noqa: PLC0415

    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["hub", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        # This folder holds modules for tests, which no command may import instead of others.
        del sys.path[0]
        serve(socket.socket(fileno=int(sys.argv[1])))
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
