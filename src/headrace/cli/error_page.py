"""The pages of docs/errors: what each code means, for `headrace explain-error` and the docs alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_SECTIONS: Final = re.compile(r"# (\S+)\n\n(.+?)\n\n## Why\n\n(.+?)\n\n## What to do\n\n(.+?)\n*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """What one code means, as Markdown."""

    code: str
    what: str
    why: str
    remedy: str


def directory() -> Path:
    """Where the pages are: shipped in the wheel, or those of the repository."""
    package = Path(__file__).parents[1]
    shipped = package / "error_pages"
    return shipped if shipped.is_dir() else package.parents[1] / "docs" / "errors"


def codes() -> list[str]:
    """Every code that has a page."""
    return sorted(path.stem for path in directory().glob("*.md") if path.stem != "index")


def page(code: str) -> ErrorPage:
    """The page of one of `codes()`, links as their text."""
    text = (directory() / f"{code}.md").read_text(encoding="utf-8")
    found = _SECTIONS.fullmatch(_LINK.sub(r"\1", text))
    if found is None:
        raise ValueError(f"docs/errors/{code}.md lacks a section")
    named, what, why, remedy = found.groups()
    return ErrorPage(code=named, what=what, why=why, remedy=remedy)
