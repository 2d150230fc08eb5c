"""The tree of errors is whole: every error of the code stands in it, under the parent that it has."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

import handlers
import hub
import hub.errors
import hub.ledger.errors
from hub.deliver.batch import FlushError, ending_of
from hub.deliver.drive import HandlerLateError, HandlerStuckError
from hub.deliver.work import Failed
from hub.errors import HubError
from hub.money import MoneyError
from hub.routing import ConditionError

_LINE = re.compile(r"^(?P<indent>[│ ]*)[├└]── (?P<name>\w+)|^(?P<root>[A-Z]\w+Error)$", re.MULTILINE)
NO_ERRORS = {"CallReached", "NotAProofError"}
"""The one ends a rehearsal from within a handler that might catch every error; the other's file needs nothing else."""


def drawn(docstring: str) -> dict[str, str]:
    """The tree in a docstring: each error's name with its parent's."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in _LINE.finditer(docstring):
        depth = 0 if line["root"] else len(line["indent"]) // 4 + 1
        name = line["root"] or line["name"]
        above[depth:] = [name]
        if depth:
            parents[name] = above[depth - 1]
    return parents


def defined() -> Iterator[type[BaseException]]:
    """Every public exception that a module of the hub or of a capability defines."""
    for package in (hub, handlers):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__") or ".migrations." in found.name:
                continue
            for name, member in inspect.getmembers(importlib.import_module(found.name), inspect.isclass):
                if name.startswith("_") or name in NO_ERRORS or member.__module__ != found.name:
                    continue
                if issubclass(member, BaseException):
                    yield member


def test_every_error_of_ours_is_a_hub_error_and_says_what_it_means() -> None:
    errors = list(defined())

    assert len(errors) > 20
    assert [error.__name__ for error in errors if not issubclass(error, HubError)] == []
    assert [error.__name__ for error in errors if not error.__doc__] == []


def test_the_drawn_tree_is_the_one_of_the_code() -> None:
    tree = drawn(hub.errors.__doc__ or "") | drawn(hub.ledger.errors.__doc__ or "")
    engine = {error.__name__: error.__bases__[0].__name__ for error in defined() if error.__module__.startswith("hub.")}
    engine.pop("HubError")

    assert tree == engine


@pytest.mark.parametrize("error", [MoneyError("no such currency"), ConditionError("no such field")])
def test_what_cannot_become_better_is_parked_at_once(error: HubError) -> None:
    assert ending_of(error) == Failed(str(error), permanent=True)


@pytest.mark.parametrize("error", [HandlerLateError(12), HandlerStuckError("left behind")])
def test_a_handler_that_is_late_has_used_up_an_attempt(error: HubError) -> None:
    assert ending_of(error) == Failed(str(error))


def test_a_batch_that_cannot_be_written_does_not_quote_what_it_was_to_store() -> None:
    assert str(FlushError(KeyError("card 4111"))) == "KeyError"
