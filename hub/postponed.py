"""Packages whose own code runs when something is asked of it, and not already when one of their modules is imported.

A package that gathers all it has in its ``__init__`` makes whoever needs a tenth of it load the whole. Its modules are
reached as ever; a name of the package itself is looked for in the ``first`` module, and only then in the package.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def postpone(package: str, *, first: str) -> None:
    """Have the package found without running it. One that is loaded already stays as it is."""
    if package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package, first))


class _Finder(MetaPathFinder):
    """Finds one package, as everybody else would, and gives it another loader."""

    def __init__(self, package: str, first: str) -> None:
        self._package = package
        self._first = first

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._package:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._first)
        return spec


class _Loader(Loader):
    def __init__(self, real: Loader, first: str) -> None:
        self._real = real
        self._first = first

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def asked(name: str) -> Any:
            # A module of the package, which the import system asks for as a name before it looks for a file.
            if name.startswith("__") or find_spec(f"{module.__name__}.{name}") is not None:
                raise AttributeError(name)
            first = importlib.import_module(f"{module.__name__}.{self._first}")
            if not hasattr(first, name):
                vars(module).pop("__getattr__", None)
                self._real.exec_module(module)
                return getattr(module, name)
            return getattr(first, name)

        vars(module)["__getattr__"] = asked
