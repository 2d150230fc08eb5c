#!/usr/bin/env bash
# Run uv against the package index that pip is configured to use here, so that no address has to stand in this project.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

configured=$(.venv/bin/python -m pip config list)

setting() { # NAME: pip's value of it, several values on one line; the environment wins over the files
    .venv/bin/python -c '
import ast, sys
name, *lines = sys.argv[1:]
values = dict(line.split("=", 1) for line in "\n".join(lines).splitlines() if "=" in line)
found = [values[key] for key in (f":env:.{name}", f"install.{name}", f"global.{name}") if key in values]
print(*ast.literal_eval(found[0]).split() if found else "")
' "$1" "$configured"
}

index=$(setting index-url)
more=$(setting extra-index-url)
links=$(setting find-links)
cert=$(setting cert)

if [ -n "$index" ]; then export UV_DEFAULT_INDEX=$index; fi
# Several indexes are one pool to pip, so they must be one to uv, or the lock would hold what pip does not choose.
if [ -n "$more" ]; then export UV_INDEX=$more UV_INDEX_STRATEGY=unsafe-best-match; fi
if [ -n "$links" ]; then export UV_FIND_LINKS=${links// /,}; fi
if [ -n "$cert" ]; then export SSL_CERT_FILE=$cert; fi

exec .venv/bin/uv --quiet "$@"
