"""Plant the mutants (all, or those that are named), and print who notices.

--all     also with the dear tests, as make faults does
--clean   each test without a mutant, too: it must pass
--jobs    so many mutants side by side
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
    parser = argparse.ArgumentParser(
        "python -m tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--try", nargs="*", dest="tests", default=None)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--log", default="")
    options = parser.parse_args()
    names = options.names or [mutant.name for mutant in MUTANTS]
    found = proof(
        names,
        is_all=options.all,
        is_clean=options.clean,
        tests=options.tests,
        log=options.log,
        jobs=options.jobs,
        on_told=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(table(found, is_told=options.words))
    return 0 if not found.missing(is_all=options.all) else 1


if __name__ == "__main__":
    sys.exit(main())
