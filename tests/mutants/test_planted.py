"""Bugs that other systems have shipped, planted here: the tests notice each, by two kinds of test or more.

``make test`` plants every eighth with the cheap tests (which eighth, HUB_TEST_SEED says), with HUB_TEST_LONG=1 all.
``make faults`` plants all, also with the dear tests and each test without any bug, and prints which kinds have noticed
what (``python -m tests.mutants --all --clean`` does, too); the counts go where HUB_TEST_COUNTS says.
"""

from __future__ import annotations

import os

import pytest

from tests.mutants.proof import Found, proof, table
from tests.mutants.registry import MUTANTS
from tests.support.counts import keep

IS_EVERYTHING = os.environ.get("HUB_FAULTS", "sample") != "sample"
IS_LONG = IS_EVERYTHING or os.environ.get("HUB_TEST_LONG", "0") != "0"
SHARE = 1 if IS_LONG else 8
PLANTED = [mutant.name for mutant in MUTANTS][int(os.environ.get("HUB_TEST_SEED", "1")) % SHARE :: SHARE]
JOBS = 2 if IS_EVERYTHING else 1
"""So many mutants side by side: a third of their time they only wait."""
PROOF_S_MAX = 3_600


@pytest.fixture(scope="module")
def found() -> Found:
    """What was noticed."""
    found = proof(PLANTED, is_all=IS_EVERYTHING, is_clean=IS_EVERYTHING, jobs=JOBS)
    if IS_EVERYTHING:
        keep("mutants", found.counts())
    return found


@pytest.mark.timeout(PROOF_S_MAX)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_noticed(found: Found, name: str) -> None:
    missed = [f"{one.test}: {one.words}" for one in found.catches[name] if not one.has_caught]

    assert not missed, f"{name} went unnoticed"
    assert found.catches[name], f"nobody looks for {name}"


@pytest.mark.timeout(PROOF_S_MAX)
def test_two_kinds_of_test_notice_each_and_nothing_fails_without_a_bug(
    found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    if not IS_EVERYTHING:
        pytest.skip("make faults asks the dear tests, too")
    with capsys.disabled():
        print(f"\n{table(found)}")

    assert not found.missing(is_all=True)
