"""The units of systemd run what the Procfile runs, may do little, and are what systemd reads."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.settings import Settings
from tests.compose import DEPLOY, of_the_procfile
from tests.conftest import missing

UNITS = DEPLOY / "systemd"
DOCS = DEPLOY.parent / "docs"
INSTALLED = "/opt/headrace/bin/"
COMMON = UNITS / "headrace-.service.d" / "process.conf"
MOST_EXPOSED = 20
"""Tenths, as `systemd-analyze security` counts: up to 2.0 is its best grade but one."""


def unit_of(process: str) -> Path:
    several = UNITS / f"headrace-{process}@.service"
    return several if several.exists() else UNITS / f"headrace-{process}.service"


def commands(unit: Path) -> list[list[str]]:
    lines = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    assert all(line.startswith(INSTALLED) for line in lines), lines
    return [line.removeprefix(INSTALLED).split() for line in lines]


def test_every_line_of_the_procfile_has_its_unit_and_every_unit_its_line() -> None:
    procfile = of_the_procfile()
    assert {unit_of(name).name for name in procfile} == {unit.name for unit in UNITS.glob("*.service")}
    for name, command in procfile.items():
        after = [["headrace", "apply"]] if name == "release" else []
        assert commands(unit_of(name)) == [command, *after]


def test_processes_are_started_again_however_they_end_and_are_given_time_to_stop() -> None:
    for name in of_the_procfile().keys() - {"release"}:
        text = unit_of(name).read_text()
        assert "\nRestart=always\n" in text
        assert "\nStartLimitIntervalSec=0\n" in text
        assert "\nPartOf=headrace.target\n" in text
        assert "\nWantedBy=headrace.target\n" in text
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", COMMON.read_text(), re.MULTILINE)
    assert int(limit) > Settings().stop_within_s + 5


def test_the_guide_of_upgrades_restarts_every_unit() -> None:
    (named,) = re.findall(r"`systemctl restart ('headrace-\*@\*' [^`]+)`", (DOCS / "upgrade.md").read_text())
    patterns = [f"{name.strip(chr(39)).removesuffix('.service')}.service" for name in named.split()]
    for name in of_the_procfile().keys() - {"release"}:
        unit = unit_of(name).name.replace("@", "@1")
        assert any(fnmatch.fnmatch(unit, pattern) for pattern in patterns), unit


def test_workers_of_one_host_have_ports_of_their_own() -> None:
    ports = re.findall(r"HEADRACE_METRICS_PORT=(\d+)%i", "".join(u.read_text() for u in UNITS.glob("*@.*")))
    assert len(ports) == len(set(ports)) == len(list(UNITS.glob("*@.service")))
    assert not {p + str(n) for p in ports for n in range(1, 10)} & {str(n) for n in range(9101, 9111)}


# --- by systemd's own tool ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The units as they are, but for where Headrace is installed."""
    directory = tmp_path_factory.mktemp("systemd")
    shutil.copytree(UNITS, directory, dirs_exist_ok=True)
    for unit in directory.glob("*.service"):
        unit.write_text(unit.read_text().replace(INSTALLED, f"{Path(sys.executable).parent}/"))
    return [
        unit.rename(unit.with_name(unit.name.replace("@", "@1"))) if "@" in unit.name else unit
        for unit in sorted(directory.glob("*.service"))
    ]


def analyzed(*arguments: str, units: list[Path]) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        missing("systemd-analyze", "apt-get install systemd")
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{units[0].parent}:"}
    command = [str(program), *arguments, *map(str, units)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_systemd_finds_no_fault_with_the_units(units: list[Path]) -> None:
    done = analyzed("verify", "--man=no", units=units)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_units_are_hardly_exposed_as_systemd_counts(units: list[Path]) -> None:
    done = analyzed("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", units=units)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Overall exposure level") == len(units)
