"""Putting a defect into a running program, and taking it out again. No branch of the product knows of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import hub.app
import hub.cli
from hub.deliver.registry import Rules
from tests.support.databases import all_capabilities

__all__ = ["CAPABILITIES", "Rules", "everywhere", "planted"]

OURS = ("hub", "handlers")
VARIABLE = "HUB_TEST_MUTANT"
"""The name of the mutant that a process of its own is to be (``site/sitecustomize.py``)."""
CAPABILITIES = all_capabilities()
"""Loaded, so that whatever they took from elsewhere by name is found and replaced too."""
assert hub.app
assert hub.cli


@contextmanager
def everywhere(original: Any, replacement: Any, *, also: tuple[str, ...] = ()) -> Iterator[None]:
    """Wherever a module of the hub knows ``original``, by whatever name, it finds ``replacement``."""
    with ExitStack() as stack:
        places = 0
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] not in (*OURS, *also) or module is None:
                continue
            for attribute, value in list(vars(module).items()):
                if value is original:
                    stack.enter_context(patch.object(module, attribute, replacement))
                    places += 1
        assert places, f"{original} is nowhere"
        yield


def planted() -> AbstractContextManager[None] | None:
    """The mutant that this process is to be, or None."""
    from tests.mutants.registry import by_name  # noqa: PLC0415 - it needs everything that is loaded above

    name = os.environ.get(VARIABLE)
    return by_name(name).plant() if name else None
