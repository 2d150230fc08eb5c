"""The command line. Begin with ``catalogue.py``, which lists every command and the module that carries it out.

A module is imported only when its command is called, so that ``hub --help`` answers at once.
"""

from __future__ import annotations


def main() -> None:
    """The entry point ``hub``."""
    from hub.cli.interpreter import settle_allocator  # noqa: PLC0415 - as below

    # First: what is loaded leaves holes too.
    settle_allocator()
    from hub.cli.catalogue import root  # noqa: PLC0415 - importing the package opens nothing and costs nothing

    root().main(prog_name="hub")


__all__ = ["main"]
