"""The documents as a site: links lead somewhere, command pages are current, the first page finds the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gemma_mtp.cli.main import COMMANDS
from tools import document_commands

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """Of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken(path: Path) -> list[str]:
    """Links of a page to files or headings that are not there. Addresses of the network are not asked."""
    found = []
    for link in _LINK.findall(_CODE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path):
    assert broken(path) == []


def test_the_look_at_links_sees(tmp_path: Path):
    (tmp_path / "a.md").write_text(
        "# One two\n[a](b.md) [b](#one-two) [c](#three) [d](https://nowhere.invalid) `[e](f)`\n"
    )
    assert broken(tmp_path / "a.md") == ["b.md", "#three"]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_pages_are_current(name: str):
    assert document_commands.path_of(name).read_text(encoding="utf-8") == document_commands.page(name)


def pages_of(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]  # type: ignore[attr-defined]


def test_the_site_has_every_page_once():
    named = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("Convert", "convert.md"),
        ("Which quant?", "quantize.md"),
        ("Will it fit?", "verify.md#memory"),
        ("Why does it not load?", "troubleshooting.md#it-does-not-load-or-it-dies"),
        ("In the hosts that people use", "hosts.md"),
        ("My target is a fine-tune", "adapt.md"),
    ],
)
def test_the_first_page_knows_the_way(question: str, page: str):
    assert f"[{question}]({page})" in (DOCS / "index.md").read_text(encoding="utf-8")
