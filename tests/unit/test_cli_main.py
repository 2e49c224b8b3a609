"""Exit codes, and errors as a person should read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headrace import logs
from headrace.cli import app as commands
from headrace.cli.main import main
from headrace.errors import ConfigurationError, Fault, HeadraceError, InvariantError, StoreUnavailableError


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of a command that raises this."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(commands, "app", fail)
    monkeypatch.setattr(sys, "argv", ["headrace", "status"])
    return main()


def test_each_fault_is_a_line_and_bad_definitions_are_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = (Fault("config/apps/a.json", "url", "is missing; add it"), Fault("", "", "no such source"))
    assert ended(monkeypatch, ConfigurationError(*faults)) == 2
    assert capsys.readouterr().err == (
        "config/apps/a.json:url: is missing; add it [definition_invalid]\n"
        "no such source [configuration_invalid]\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailableError("no route to main"), "store_unavailable"),
        (HeadraceError("no route to main"), "failed"),
    ],
)
def test_an_expected_failure_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: str
) -> None:
    assert ended(monkeypatch, error) == 1
    assert capsys.readouterr().err == f"failed: no route to main [{code}]\n"


@pytest.mark.parametrize("kind", [InvariantError, ValueError])
def test_a_bug_shows_its_traceback_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    logs.keep_secret("hunter2-of-the-store")
    assert ended(monkeypatch, kind("postgresql://me:hunter2@db/x and hunter2-of-the-store")) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "hunter2" not in told


def test_an_interruption_says_that_what_was_read_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, KeyboardInterrupt()) == 130
    assert "what was read is kept" in capsys.readouterr().err


def test_bad_usage_is_2() -> None:
    headrace = Path(sys.executable).with_name("headrace")
    for arguments in (
        ["frobnicate"],
        ["sync", "--frobnicate"],
        ["preview"],
        ["preview", "x", "--limit", "0"],
    ):
        done = subprocess.run([headrace, *arguments], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Usage:" in done.stderr


def test_the_version_is_told_without_loading_anything_slow() -> None:
    code = (
        "import sys; sys.argv = ['headrace', '--version']\n"
        "from headrace.cli.main import main\n"
        "assert main() == 0\n"
        "slow = {'typer', 'rich', 'pyarrow', 'sqlalchemy', 'pydantic'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("headrace ")


def test_every_command_has_an_example() -> None:
    from typer.main import get_command

    def walk(group: object, name: str) -> list[str]:
        inner = getattr(group, "commands", None)
        if inner is None:
            return [] if "Example: headrace" in (getattr(group, "help", "") or "") else [name]
        return [missing for key, one in inner.items() for missing in walk(one, f"{name} {key}")]

    assert walk(get_command(commands.app), "headrace") == []
