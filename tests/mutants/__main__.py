"""``python -m tests.mutants [--all] [--clean] [NAME…] [--words   also what each test said
--log     a file for all that pytest prints
--try TEST…]``: plant the mutants, and print who notices.

--all     also with the dear tests, as ``make faults`` does
--clean   each test without a mutant, too: it must pass
--words   also what each test said
--log     a file for all that pytest prints
--try     with these tests instead of those of the registry, to look for more
"""

from __future__ import annotations

import argparse
import sys

from tests.mutants.proof import proof, table
from tests.mutants.registry import MUTANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutants", allow_abbrev=False)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--try", nargs="*", dest="tests", default=None)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--log", default="")
    options = parser.parse_args()
    names = options.names or [mutant.name for mutant in MUTANTS]
    found = proof(names, is_all=options.all, is_clean=options.clean, tests=options.tests, log=options.log)
    print(table(found, is_told=options.words))
    return 0 if not found.missing(is_all=options.all) else 1


if __name__ == "__main__":
    sys.exit(main())
