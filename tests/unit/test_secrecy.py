"""What looks for secrets in everything that tests print finds them."""

from __future__ import annotations

import pytest

from tests.support.secrecy import API_KEY, PLANTED, leaks

pytest_plugins = ["pytester"]


def test_a_secret_in_the_middle_of_a_log_is_found_with_what_stands_around_it() -> None:
    [found] = leaks(["nothing here", f"event=asked authorization='Bearer {API_KEY}' route=settle"])

    assert "authorization='Bearer " in found


def test_the_planted_secrets_are_too_peculiar_to_be_met_by_chance() -> None:
    assert min(len(one) for one in PLANTED) >= 14
    assert leaks(["a test-key, an admin key, and a webhook key"]) == []


def test_a_test_that_prints_one_fails_and_its_neighbours_do_not(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makeconftest("from tests.conftest import pytest_runtest_makereport")
    pytester.makepyfile(
        f"""
        import sys
        SECRET = {API_KEY!r}

        def test_prints():
            print(SECRET)

        def test_complains():
            print(SECRET, file=sys.stderr)

        def test_keeps(capsys):
            print(SECRET)
            assert SECRET in capsys.readouterr().out
        """
    )
    quiet = ("-p", "no:randomly", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")

    result = pytester.runpytest_inprocess(*quiet)

    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines([f"*test_{name} printed a secret:*" for name in ("prints", "complains")])
    # What the inner run has printed is no leak of this one.
    capsys.readouterr()
