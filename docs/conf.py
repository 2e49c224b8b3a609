"""The docs site: `make docs` builds it from this directory, warnings being errors."""

from __future__ import annotations

import tomllib
from pathlib import Path

_ROOT = Path(__file__).parent.parent

project = "Headrace"
author = "the Headrace developers"
copyright = author  # noqa: A001 (Sphinx's name)
release = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx_copybutton", "sphinx_design"]
myst_enable_extensions = ["colon_fence"]
# GitHub's anchors, so that a link works on the site and in the repository alike.
myst_heading_anchors = 4
exclude_patterns: list[str] = []
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
# A copied session is its commands, without what they print.
copybutton_prompt_text = "$ "
html_title = f"Headrace {release}"
html_show_sphinx = False
