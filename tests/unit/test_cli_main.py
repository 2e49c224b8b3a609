"""Exit codes, and errors as a person should read them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace import logs
from headrace.cli import app as commands
from headrace.cli.main import main
from headrace.errors import ConfigurationError, Fault, HeadraceError, InvariantError, StoreUnavailableError


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of a command that raises this."""

    def fail(_first: str | None) -> None:
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


def main_in(directory: Path, *commands: Sequence[str]) -> str:
    """What a process that runs these commands says on stderr; last the modules that it has imported."""
    code = (
        "import sys\n"
        "from headrace.cli.main import main\n"
        f"for command in {commands!r}:\n"
        "    sys.argv = ['headrace', *command]\n"
        "    assert main() == 0, command\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stderr


def loaded(directory: Path, *commands: Sequence[str]) -> set[str]:
    """The packages, and of Headrace the modules, that a process has imported which runs these commands."""
    modules = main_in(directory, *commands).splitlines()[-1].split()
    return {name if name.startswith("headrace") else name.partition(".")[0] for name in modules}


def test_the_version_is_told_without_loading_anything_slow(tmp_path: Path) -> None:
    slow = {"typer", "rich", "pyarrow", "sqlalchemy", "pydantic", "structlog", "psycopg"}
    assert not slow & loaded(tmp_path, ["--version"])


def test_a_sync_loads_only_what_it_uses(tmp_path: Path) -> None:
    """A module costs some milliseconds, and a command is started often."""
    main_in(tmp_path, ["init", ".", "--example"])
    assert loaded(tmp_path, ["sync"]) > {"sqlalchemy", "headrace.steps.merge"}
    needless = {
        *("rich", "structlog", "pygments", "attr", "cryptography", "alembic", "sqlglot", "pymysql"),
        *("dramatiq", "kombu", "redis", "fastapi", "uvicorn", "httpx", "opentelemetry"),
        *(
            "headrace.cli.customers",
            "headrace.cli.demo",
            "headrace.web",
            "headrace.queue",
            "headrace.webhooks",
        ),
    }
    assert not needless & loaded(tmp_path, ["sync"])
    assert not (needless | {"workers"}) & loaded(tmp_path, ["status"])


def test_the_collector_of_garbage_is_back_when_a_command_has_imported_what_it_uses(tmp_path: Path) -> None:
    main_in(tmp_path, ["init", ".", "--example"])
    told = "import gc\nprint(gc.get_threshold()[0], gc.isenabled(), gc.get_freeze_count() > 0)"
    code = f"import sys\nfrom headrace.cli.main import main\nsys.argv = ['headrace', 'sync']\nmain()\n{told}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "50000 True True"


def test_a_command_is_found_in_the_module_that_it_is_said_to_be_in() -> None:
    from typer.main import get_command

    for module, names in commands.COMMANDS.items():
        for name in names:
            made = get_command(commands.app(name))
            assert set(getattr(made, "commands", {name})) == set(names), module
    whole = get_command(commands.app("no-such-command"))
    assert set(getattr(whole, "commands", {})) == {n for names in commands.COMMANDS.values() for n in names}


def test_every_command_has_an_example() -> None:
    from typer.main import get_command

    def walk(group: object, name: str) -> list[str]:
        inner = getattr(group, "commands", None)
        if inner is None:
            return [] if "Example: headrace" in (getattr(group, "help", "") or "") else [name]
        return [missing for key, one in inner.items() for missing in walk(one, f"{name} {key}")]

    assert walk(get_command(commands.app()), "headrace") == []
