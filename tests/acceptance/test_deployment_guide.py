"""The guide of deployment: what can run here is run, what cannot is marked, counted, and fits the files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import sql

from tests.acceptance import guide
from tests.acceptance.quick_commands import installed
from tests.compose import ROOT, of_the_procfile, services
from tests.servers import free_port
from tests.unit.test_helm import CHART

GUIDE = ROOT / "docs" / "deployment.md"
PROGRAMS = ("curl", "openssl", "psql")
PORTS = ("9101", "9102", "9103", "9104", "9105", "8080")


@pytest.mark.services
def test_what_runs_without_containers_prints_what_the_guide_says(
    tmp_path: Path, postgres_server: str, redis_server: str
) -> None:
    control = f"headrace_test_{uuid.uuid4().hex[:12]}"
    instead = {port: str(free_port()) for port in PORTS} | {"headrace_control": control}
    try:
        with installed(tmp_path) as bin_:
            python_on_other_ports(bin_, instead)
            guide.assert_does_what_it_says(
                GUIDE,
                tmp_path,
                environment={
                    "PATH": os.pathsep.join((str(bin_), os.environ["PATH"])),
                    "HEADRACE_HTTP_PORT": instead["8080"],
                    "HEADRACE_QUEUE_NAMESPACE": control,
                },
                instead=instead,
                programs=PROGRAMS,
            )
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(control)))


def python_on_other_ports(bin_: Path, instead: dict[str, str]) -> None:
    """A `python` whose processes serve metrics where this test, and no other, looks for them."""
    ports = {"scheduler": "9101", "fetch": "9102", "merge": "9103", "relay": "9104", "triggers": "9105"}
    cases = "".join(f"*.{n}) export HEADRACE_METRICS_PORT={instead[p]};;\n" for n, p in ports.items())
    python = bin_ / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in\n{cases}esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)


def test_the_guide_starts_the_lines_of_the_procfile_release_first() -> None:
    text = GUIDE.read_text()
    started = re.findall(r"^(.*) > \w+\.log 2>&1 & echo \$! >> pids$", text, re.MULTILINE)
    assert [line.split() for line in ["headrace db upgrade", *started]] == list(of_the_procfile().values())
    named = re.findall(r"^\| `(\w+)` \|", text[: text.index("## By hand")], re.MULTILINE)
    assert ["release", *named] == list(of_the_procfile())


# --- what cannot run here -----------------------------------------------------------------------------


def scripts() -> list[str]:
    return [block.text for block in guide.blocks_of(GUIDE) if block.mark.startswith("needs: ")]


def test_every_block_that_is_not_run_is_a_script_and_names_files_that_there_are() -> None:
    named = 0
    for script in scripts():
        checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")
        for path in re.findall(r"\bdeploy/[\w./*-]+", script):
            there = list(ROOT.glob(path)) or path in {"deploy/.env", "deploy/headrace.env"}
            assert there, path
            named += 1
    assert named > 10


def test_services_and_units_that_the_guide_names_are_there() -> None:
    text = "\n".join(scripts())
    scaled = set(re.findall(r"--scale (\w+)=", text)) | set(re.findall(r"(?:--rm|exec) (\w+)", text))
    assert scaled <= set(services())
    enabled = {unit.split("@")[0] for unit in re.findall(r" headrace-(\w+@?)", text)}
    assert enabled >= of_the_procfile().keys() - {"release"}


def test_the_guide_s_values_are_values_of_the_chart() -> None:
    (text,) = [block.text for block in guide.blocks_of(GUIDE) if block.language == "yaml"]
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for name, value in yaml.safe_load(text).items():
        assert name in defaults
        if isinstance(value, dict) and defaults[name]:
            assert value.keys() <= defaults[name].keys(), name
