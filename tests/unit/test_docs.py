"""The pages for people: their links lead somewhere, what the code refers to is there, and tables are as the code is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from handlers.sepay import capability as sepay
from hub.cli.catalogue import root
from hub.errors import ConfigError
from hub.routing import Known, load_text
from hub.settings import GENERATED, Settings, variable_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [
    *(
        file
        for folder in ("hub", "handlers", "schemas", "tests", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
    ),
    ROOT / "routing.yaml",
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PAGE_IN_CODE = re.compile(r'(docs/[\w./-]+\.md)((?:, (?:and )?"[^"\n]+"(?: and "[^"\n]+")?|, G\d(?: and G\d)*)?)')
_NAMED_FILE = re.compile(r"`((?:hub|handlers|schemas|tests|benchmarks|deploy)/[\w./-]*[\w/])`")
_COMMAND = re.compile(r"(?:`|^)hub ((?:[a-z][a-z|-]*(?=[ `\n]) ?)+)", re.MULTILINE)
_REGISTRY = re.compile(
    r"pypi\.org|pythonhosted|npmjs|registry\.[\w.]+|/simple\b|index-url|proxy\.golang", re.IGNORECASE
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](other.md) [b](#one) [c](#two) [d](page.md#one)\n```\n[e](nowhere.md)\n```\n")

    assert broken_links(page) == ["other.md", "#two"]


def test_every_page_that_the_code_names_is_there_with_its_section() -> None:
    missing = []
    for file in CODE:
        for name, sections in _PAGE_IN_CODE.findall(file.read_text()):
            page = ROOT / name
            if not page.exists():
                missing.append(f"{name_of(file)}: {name}")
                continue
            headings = _HEADING.findall(page.read_text())
            for section in re.findall(r'"([^"]+)"|(G\d)', sections):
                wanted = "".join(section)
                if not any(wanted in heading for heading in headings):
                    missing.append(f"{name_of(file)}: {name}, {wanted}")

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()

    assert [name for name in _NAMED_FILE.findall(_FENCE.sub("", text)) if not (ROOT / name).exists()] == []


def test_the_table_of_settings_is_what_can_be_set() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    documented = re.findall(r"^\| `(HUB_\w+)` \|", page, re.MULTILINE)

    assert documented == [variable_names(Settings, field)[0] for field in Settings.model_fields]


def test_the_table_of_settings_names_the_defaults() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    rows = dict(re.findall(r"^\| `(HUB_\w+)` \| (.*?) \|", page, re.MULTILINE))
    defaults = {variable_names(Settings, name)[0]: info for name, info in Settings.model_fields.items()}

    for variable, info in defaults.items():
        if type(info.default) in (int, float):
            shown = rows[variable].strip("`").replace(" MiB", "")
            scale = 1024 * 1024 if "MiB" in rows[variable] else 1
            assert float(shown) * scale == info.default, variable
        if info.json_schema_extra == GENERATED:
            assert rows[variable] == "generated in a sandbox"


def test_the_whole_file_on_the_page_about_routing_can_be_loaded() -> None:
    [whole] = re.findall(r"^```yaml\n(version: 1\n.*?)^```$", (ROOT / "docs/routing.md").read_text(), re.M | re.S)
    known = Known(
        handlers=frozenset(f"sepay.{name}" for name in sepay.handlers),
        schemes=frozenset({"api_key", "hmac", "none"}),
        schemas=frozenset(),
    )

    loaded = load_text(whole, path=Path("routing.yaml"), environ={"BANK_KEY": "test"}, known=known)

    assert [route.name for route in loaded.config.routes] == ["copy-customers", "audit-large-transfers"]
    assert loaded.warnings == ()


def test_the_whole_file_asks_for_its_secret() -> None:
    [whole] = re.findall(r"^```yaml\n(version: 1\n.*?)^```$", (ROOT / "docs/routing.md").read_text(), re.M | re.S)

    with pytest.raises(ConfigError, match="BANK_KEY is not set"):
        load_text(whole, path=Path("routing.yaml"), environ={})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_the_address_of_a_package_registry(page: Path) -> None:
    assert _REGISTRY.findall(page.read_text()) == []


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs/decisions"
    listed = _LINK.findall((folder / "README.md").read_text())

    assert listed == sorted(page.name for page in folder.glob("0*.md"))


def commands_named() -> list[str]:
    """Every ``hub …`` on a page, up to the first word that is no name of a command."""
    found: set[str] = set()
    for page in PAGES:
        for command in _COMMAND.findall(page.read_text()):
            *groups, last = re.split(r" +", command.strip())
            # "conflicts list|resolve" stands for two.
            found |= {" ".join([*groups, one]) for one in last.split("|")}
    # The page about extending builds a capability of this name.
    return sorted(command for command in found if "tips" not in command)


@pytest.mark.parametrize("command", commands_named())
def test_every_command_that_a_page_names_exists(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert root().main([*command.split(), "--help"], prog_name="hub", standalone_mode=False) in (None, 0)
