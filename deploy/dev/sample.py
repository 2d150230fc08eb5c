"""Draw some of the changes that mutmut would make to a file: ``sample.py SEED MOST FILE…`` prints their names.

Nothing for files that have no more than so many each: then mutmut is to make all of them.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents


def main(seed: str, most: int, files: list[str]) -> int:
    of_files = {file: list(mutate_file_contents(file, Path(file).read_text()).mutant_names) for file in files}
    if any(len(names) > most for names in of_files.values()):
        for file, names in of_files.items():
            module = file.removesuffix(".py").replace("/", ".")
            names.sort(key=lambda name: sha256(f"{seed} {name}".encode()).digest())
            print("\n".join(f"{module}.{name}" for name in sorted(names[:most])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
