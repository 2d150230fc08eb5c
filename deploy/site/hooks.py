"""What mkdocs does beside its own work: pages made from the code, and links that lead out of docs/.

``pages`` below lists what is made. Nothing of it is stored: each build reads the code, routing.yaml, README.md and
CHANGELOG.md as they are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from deploy.site.describing import api_page, message_pages  # noqa: E402 - found through the line above

MADE_ELSEWHERE: Final = {"README.md": "tour.md", "CHANGELOG.md": "changes.md"}
"""Files beside docs/ → the page that is made of each."""
REST: Final = "Operations"
"""Where pages go that mkdocs.yml names nowhere."""
IN_ORDER: Final = {"Alerts": "alerts", "Decisions": "decisions"}
"""Parts of the navigation that list a whole folder."""

_LINK = re.compile(r"(\[[^\]]*\])\(([^)\s]+)\)")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def pages() -> Mapping[str, Callable[[], Iterator[tuple[str, str]]]]:
    """What is made, by what it is made of: path → text."""
    return {
        "README.md": lambda: iter([("tour.md", tour((ROOT / "README.md").read_text()))]),
        "CHANGELOG.md": lambda: iter([("changes.md", (ROOT / "CHANGELOG.md").read_text())]),
        "the HTTP routes": api_page,
        "the messages": message_pages,
    }


def tour(readme: str) -> str:
    """README.md from its first command on: what stands before is the site's own first page."""
    _, heading, rest = readme.partition("## Two commands")
    return f"# A tour\n\n{heading}{rest}"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation."""
    found = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    for title, folder in IN_ORDER.items():
        part = _part(config.nav, title)
        part += sorted(one for one in found if one.startswith(f"{folder}/") and one not in part)
    named = set(_named(config.nav))
    _part(config.nav, REST).extend(sorted(found - named))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made."""
    for make in pages().values():
        for path, text in make():
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files beside docs/ into links to what was made of them, or into plain words."""
    where = Path(page.file.src_uri)
    depth = "../" * len(where.parent.parts)
    is_made = where.name in MADE_ELSEWHERE.values() and not depth

    def led(match: re.Match[str]) -> str:
        words, target = match.groups()
        path, mark, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        if is_made:
            path = path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"
        outside = path.removeprefix("../" * (len(where.parent.parts) + 1))
        if outside == path:
            return f"{words}({path}{mark}{anchor})"
        made = MADE_ELSEWHERE.get(outside)
        return f"{words}({depth}{made}{mark}{anchor})" if made else words[1:-1]

    parts = _FENCED.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(led, part) for part in parts)


def on_post_build(config: MkDocsConfig) -> None:
    """Nothing may be fetched from elsewhere while the site is read."""
    for file in Path(config.site_dir).rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="?(https?://[^"\s>]+)', file.read_text())
        if fetched:
            raise SystemExit(f"{file}: would fetch {fetched[0]}")


def _part(nav: Any, title: str) -> list[Any]:
    """The list under this title, at any depth."""
    for item in nav:
        for name, below in item.items() if isinstance(item, dict) else ():
            if name == title and isinstance(below, list):
                return below
            if isinstance(below, list) and (found := _part(below, title)):
                return found
    return []


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for item in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _named(item)
