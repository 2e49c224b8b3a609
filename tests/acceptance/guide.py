"""The blocks of a document: what each is for, and a run of those that a reader would type.

In order of what a block says of itself, by an HTML comment above it or by its language:

- ```sh is run as it is, and no command of it may fail; ```console as commands with what they print; and
  `<!-- file: PATH -->` is written to PATH where it stands: all by the test that has the document as a guide;
- `<!-- definition: KIND -->`, and a file below `config/`, is checked by the models;
- `<!-- answer: METHOD PATH [STATUS] -->` and `<!-- body: METHOD PATH -->` are compared with the OpenAPI
  document: one operation, or one for each value of the block with `; ` between them;
- `<!-- checked by: TEST -->` is compared with something by that test;
- `<!-- needs: WHAT -->` is a script that cannot be run here; ```text and `<!-- shown -->` are looked at.

In what is expected `…` stands for anything on its line, and a line of `…` alone for any lines; ids, times and
the width of columns may differ.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.conftest import missing

_BLOCK: Final = re.compile(
    r"^ *(?:<!-- (?P<mark>[^>]*) -->\n *)?```(?P<language>\S*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_ENDED: Final = "\x1e"
_FAILED: Final = "\x1f"
_VARYING: Final = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"eyJ[\w-]+(\.[\w-]+)+"), "eyJ<token>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{12,20}(?![0-9a-f])"), "<id>"),
    (re.compile(r" +"), " "),
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is the comment above it, `line` that of its first line of text."""

    line: int
    language: str
    mark: str
    text: str

    @property
    def file(self) -> str | None:
        """Where the reader is to write it."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else None

    @property
    def definition(self) -> str | None:
        """The kind of the definition that it is."""
        if found := re.fullmatch(r"file: config/(\w+)/\w+\.json", self.mark):
            return found[1]
        return self.mark.removeprefix("definition: ") if self.mark.startswith("definition: ") else None

    @property
    def operations(self) -> tuple[str, list[str]] | None:
        """`answer` or `body`, and the operations of the API that it shows it of."""
        kind, _, operations = self.mark.partition(": ")
        return (kind, operations.split("; ")) if kind in {"answer", "body"} else None

    @property
    def runs(self) -> bool:
        return bool(self.file) or (self.language in {"sh", "console"} and not self.mark)


@dataclass(frozen=True)
class Step:
    """Something to run; `expected` is None where what it prints is not shown."""

    line: int
    command: str
    expected: tuple[str, ...] | None


def blocks_of(document: Path) -> Iterator[Block]:
    """Every fenced block but Sphinx's own directives."""
    text = document.read_text()
    for found in _BLOCK.finditer(text):
        if not found["language"].startswith("{"):
            yield Block(
                text.count("\n", 0, found.start("text")) + 1,
                found["language"],
                found["mark"] or "",
                textwrap.dedent(found["text"]),
            )


def steps_of(guide: Path) -> Iterator[Step]:
    for block in blocks_of(guide):
        if not block.runs:
            continue
        if block.file:
            write = f"cat > {shlex.quote(block.file)} <<'END OF FILE'\n{block.text}END OF FILE"
            yield Step(block.line, write, None)
        elif block.language == "sh":
            yield Step(block.line, block.text, None)
        else:
            yield from _shown_commands(block)


def _shown_commands(block: Block) -> Iterator[Step]:
    for shown in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
        at = block.line + block.text.count("\n", 0, shown.start())
        yield Step(at, shown[1], tuple(shown[2].splitlines()))


def assert_does_what_it_says(
    guide: Path,
    directory: Path,
    *,
    environment: Mapping[str, str],
    instead: Mapping[str, str] | None = None,
    programs: tuple[str, ...] = (),
) -> None:
    """Each command of the guide prints what the guide shows, when one shell runs them all.

    `environment` is added to the test's own, without its `HEADRACE_` variables; `instead` has what takes the
    place of ports and names of databases that are the reader's own; `programs` are those it asks of a reader.
    """
    if absent := [program for program in ("bash", *programs) if shutil.which(program) is None]:
        missing("what the guide is run with", f"there is no {', '.join(absent)}")
    steps = list(steps_of(guide))
    if instead:
        name = re.compile("|".join(map(re.escape, sorted(instead, key=len, reverse=True))))
        steps = [replace(s, command=name.sub(lambda found: instead[found[0]], s.command)) for s in steps]
    ours = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    printed = run(steps, directory, ours | environment)
    assert len(printed) == len(steps), printed[-1:]
    wrong = [differs(*each) for each in zip(steps, printed, strict=True)]
    assert not any(wrong), "\n\n".join(filter(None, wrong))


def run(steps: list[Step], directory: Path, environment: Mapping[str, str]) -> list[str]:
    """What each of the steps printed, on both streams, when one shell ran them all.

    Behind it, parted by `_FAILED`, is which command of a block that shows no output failed.
    """
    script = "".join(_script(step) for step in steps)
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
    return ended.stdout.split(_ENDED)[: len(steps)]


def _script(step: Step) -> str:
    if step.expected is not None:
        return f"{step.command}\nprintf '{_ENDED}'\n"
    noted = f"failed=; trap 'failed=$BASH_COMMAND' ERR\n{step.command}\ntrap - ERR"
    return f"{noted}\nprintf '{_FAILED}%s{_ENDED}' \"$failed\"\n"


def differs(step: Step, printed: str) -> str:
    """How what was printed is not as the guide says; empty: it is."""
    if step.expected is None:
        printed, _, failed = printed.rpartition(_FAILED)
        return f"line {step.line}: {failed} failed\n{printed}" if failed else ""
    if re.fullmatch(_pattern(step.expected), _plain(printed)):
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
