"""Every link between our own documents leads somewhere, to headings, too (as mkdocs has them)."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from markdown import markdown

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "training/fxtrain/shipped/MODEL_CARD.md",
        *ROOT.glob("docs/**/*.md"),
    ]
)
LINK = re.compile(r'(?:href|src)="([^"]+)"')
OUTSIDE = re.compile(r"[a-z]+:")


@functools.cache
def html(page: Path) -> str:
    return markdown(page.read_text("utf-8"), extensions=["toc", "tables", "admonition"])


def headings(page: Path) -> set[str]:
    return set(re.findall(r'<h\d id="([^"]+)"', html(page)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(html(page)):
        if OUTSIDE.match(link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        found = target.exists() and (not anchor or anchor in headings(target))
        if not found:
            lost.append(link)
    assert not lost
