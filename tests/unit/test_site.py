"""The documentation as a site: built without a warning, with the pages that are made from the code, and alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_S_MAX = 180
_FETCHED = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="?((?:https?:)?//[^"\s>]+)')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once for this module. ``--strict``: a link or an anchor that leads nowhere ends it."""
    folder = tmp_path_factory.mktemp("site")
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=BUILD_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_and_can_be_found(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    made = [str(path.with_suffix("")).replace("README", "").strip("/") for path in pages if path.name != "index.md"]
    shown = {str(path.parent.relative_to(site)) for path in site.rglob("index.html")}
    search = json.loads((site / "search/search_index.json").read_text())["docs"]

    assert set(made) | {".", "tour", "changes", "reference/api", "reference/messages"} <= shown
    assert {one["location"].partition("#")[0].strip("/") for one in search} >= set(made)


def test_reading_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = {found for page in site.rglob("*.html") for found in _FETCHED.findall(page.read_text())}
    styles = {found for file in site.rglob("*.css") for found in re.findall(r"url\((https?:[^)]+)", file.read_text())}

    assert (fetched, styles) == (set(), set())
    assert all("mermaid.tiny.js" in page.read_text() for page in (site / "concepts").glob("index.html"))


def test_the_reference_is_what_the_code_says(site: Path) -> None:
    api = (site / "reference/api/index.html").read_text()
    messages = (site / "reference/messages/index.html").read_text()
    document = json.loads((site / "reference/openapi.json").read_text())
    asyncapi = json.loads((site / "reference/asyncapi.json").read_text())

    assert document["openapi"].startswith("3.1")
    assert [path for path in document["paths"] if path not in api] == []
    assert asyncapi["asyncapi"].startswith("3.")
    schemas = {path.stem for path in (site / "reference/schemas").glob("*.json")}
    assert {"sepay.WalletCredited", "loyalty.LoyaltyEvent"} <= schemas
    assert [name for name in schemas if f"schemas/{name}.json" not in messages] == []


def test_every_alert_has_its_address_on_the_site(site: Path) -> None:
    rules = (ROOT / "deploy/prometheus/hub.rules.yml").read_text()
    addresses = re.findall(r"runbook_url: \"\{\{ \$externalLabels\.docs \}\}/(\S+)/\"", rules)

    assert len(addresses) == rules.count("- alert: ")
    assert [one for one in addresses if not (site / one / "index.html").exists()] == []
