"""Packages whose own code runs when something is asked of it, and not already when one of their modules is imported.

A package that gathers all it has in its ``__init__`` makes whoever needs a tenth of it load the whole. Its modules are
reached as ever; a name of the package itself is looked for in the ``first`` module, where there is one, and only then
in the package. That takes its time: who asks while a loop runs has imported what it needs, by its module, before.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

_VERSION: Final = re.compile(r"""^__version__ = ["'](.+)["']""", re.MULTILINE)


def postpone(package: str, *, first: str = "") -> None:
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
        if spec is not None and isinstance(spec.loader, InspectLoader):
            spec.loader = _Loader(spec.loader, self._first)
        return spec


class _Loader(InspectLoader):
    def __init__(self, real: InspectLoader, first: str) -> None:
        self._real = real
        self._first = first

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def asked(name: str) -> Any:
            if name == "__version__" and (found := _VERSION.search(self.get_source(module.__name__) or "")):
                # Modules of the package ask for it.
                return found[1]
            if name.startswith("__"):
                raise AttributeError(name)
            # The import system asks for a module as for any name, before it looks for a file.
            if find_spec(f"{module.__name__}.{name}") is not None:
                return importlib.import_module(f"{module.__name__}.{name}")
            if self._first:
                first = importlib.import_module(f"{module.__name__}.{self._first}")
                if hasattr(first, name):
                    return getattr(first, name)
            self._real.exec_module(module)
            # Only now: another thread may ask meanwhile.
            vars(module).pop("__getattr__", None)
            return getattr(module, name)

        vars(module)["__getattr__"] = asked

    def get_source(self, fullname: str) -> str | None:
        return self._real.get_source(fullname)
