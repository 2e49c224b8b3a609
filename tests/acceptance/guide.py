"""A guide whose blocks are run: ```sh as they are, ```console as commands with what they print.

In what is expected `…` stands for anything on its line, and a line of `…` alone for any lines; ids, times and
the width of columns may differ.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK: Final = "\x1e"
_VARYING: Final = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"eyJ[\w-]+(\.[\w-]+)+"), "eyJ<token>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{12,20}(?![0-9a-f])"), "<id>"),
    (re.compile(r" +"), " "),
)


@dataclass(frozen=True)
class Step:
    """Something to run; `expected` is None where what it prints is not shown."""

    line: int
    command: str
    expected: tuple[str, ...] | None


def steps_of(guide: Path) -> Iterator[Step]:
    text = guide.read_text()
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(2)) + 1
        if block[1] == "sh":
            yield Step(line, block[2], None)
            continue
        for shown in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block[2], re.MULTILINE):
            at = line + block[2].count("\n", 0, shown.start())
            yield Step(at, shown[1], tuple(shown[2].splitlines()))


def run(steps: list[Step], directory: Path, environment: Mapping[str, str]) -> list[str]:
    """What each of the steps printed, on both streams, when one shell ran them all."""
    script = "".join(f"{step.command}\nprintf '{_MARK}'\n" for step in steps)
    ended = subprocess.run(
        ["bash"],
        input=script,
        cwd=directory,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return ended.stdout.split(_MARK)[: len(steps)]


def differs(step: Step, printed: str) -> str:
    """How what was printed is not as the guide says; empty: it is."""
    if step.expected is None or re.fullmatch(_pattern(step.expected), _plain(printed)):
        return ""
    return f"line {step.line}: $ {step.command}\n  the guide:\n{_shown(step.expected)}\n  printed:\n{printed}"


def _pattern(expected: tuple[str, ...]) -> str:
    lines = (
        r"(?:.*\n)*" if line == "…" else re.escape(_plain(line)).replace("…", ".*") + r" *\n"
        for line in expected
    )
    return "".join(lines)


def _plain(text: str) -> str:
    for varying, instead in _VARYING:
        text = varying.sub(instead, text)
    return "".join(f"{line.rstrip(' ')}\n" for line in text.splitlines()) if "\n" in text else text


def _shown(expected: tuple[str, ...]) -> str:
    return "\n".join(expected)
