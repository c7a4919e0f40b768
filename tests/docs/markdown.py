"""Reads the documentation."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
    for path in [
        *sorted(REPOSITORY.glob("*.md")),
        *sorted((REPOSITORY / "docs").glob("*.md")),
        *sorted((REPOSITORY / "docs/guides").glob("*.md")),
    ]
}
"""The text of every page, by its path from the repository's root."""


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def section(page: str, title: str) -> str:
    """Return the text of a section, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGES[page], re.DOTALL | re.MULTILINE)
    if found is None:
        raise LookupError(f"{page} has no section {title!r}")
    return found[1]


def code(text: str) -> list[str]:
    """Return what a text marks as code within its lines."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
