"""After a run of mutmut: how many of its changes were noticed, and those that were not in time, each as a diff."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter


def main(part: str) -> int:
    listed = subprocess.run(
        [".venv/bin/mutmut", "results", "--all", "true"], capture_output=True, text=True, check=False
    ).stdout
    listing = [line.strip().rsplit(": ", 1) for line in listed.splitlines() if ": " in line]
    # What was not drawn stays as it was.
    found = [(name, state) for name, state in listing if state != "not checked"]
    counts = Counter(state for _, state in found)
    drawn = "" if len(found) == len(listing) else f" of {len(listing)}"
    print(f"{part}: {len(found)}{drawn} changes: " + ", ".join(f"{n} {state}" for state, n in counts.most_common()))
    for name, state in found:
        if state != "killed":
            shown = subprocess.run([".venv/bin/mutmut", "show", name], capture_output=True, text=True, check=False)
            changed = [one for one in shown.stdout.splitlines() if one[:1] in "+-" and one[:3] not in ("+++", "---")]
            print(f"  {state}: {name}")
            print("\n".join(f"      {one}" for one in changed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
