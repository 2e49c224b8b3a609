"""The Helm chart renders, to what Kubernetes takes, and runs what the Procfile runs.

By `helm template` where there is a helm; else by tests/helm/render.go, which is made of the same templates.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import psycopg
import pytest
import yaml

from headrace.control.engine import control_engine
from headrace.control.schema import upgrade
from headrace.settings import Settings
from tests.compose import DEPLOY, ROOT, image_environment, of_the_procfile
from tests.conftest import missing

CHART = DEPLOY / "helm" / "headrace"
KUBERNETES = ("1.27", "1.34")
"""The chart's least, and a newer one."""
OF_OPERATORS = {"ScaledObject", "PodMonitor"}
DEFINITIONS = {"apps": {"shop": {"name": "Shop", "type": "postgres", "url": "${SHOP_URL}"}}}
ALL_ON = {
    "secret": "headrace",
    "environment": {"HEADRACE_LOG_LEVEL": "debug", "HEADRACE_THREADS": 8},
    "definitions": DEFINITIONS,
    "keda": {"enabled": True},
    "podMonitor": {"enabled": True},
    "image": {"pullSecrets": [{"name": "registry"}]},
    "volumes": [{"name": "certificates", "secret": {"secretName": "certificates"}}],
    "volumeMounts": [{"name": "certificates", "mountPath": "/run/secrets"}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "databases", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "networkPolicy": {
        "apiFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
}
LEAST = {"secret": "headrace"}
Manifest = dict[str, Any]


def rendered(values: Mapping[str, Any]) -> list[Manifest]:
    done = run(values)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def run(values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    if helm := shutil.which("helm"):
        command = [helm, "template", "r1", str(CHART), "--values", "-"]
        return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    given = {
        "Values": merged(yaml.safe_load((CHART / "values.yaml").read_text()), values),
        "Chart": {name[0].upper() + name[1:]: value for name, value in chart.items()},
    }
    command = [str(renderer()), str(CHART), "r1"]
    return subprocess.run(command, input=json.dumps(given), capture_output=True, text=True)


def merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """As helm merges: objects key by key, everything else as a whole."""
    both = {
        name: merged(defaults[name], value)
        for name, value in values.items()
        if isinstance(value, dict) and isinstance(defaults.get(name), dict)
    }
    return {**defaults, **values, **both}


@functools.cache
def renderer() -> Path:
    go = shutil.which("go")
    library = Path("/usr/share/gocode/src/github.com/Masterminds/sprig")
    if go is None or not library.is_dir():
        missing("helm", "nor apt-get install golang-go golang-github-masterminds-sprig-dev")
    made = Path(tempfile.gettempdir()) / f"headrace-helm-{os.getpid()}"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    source = ROOT / "tests" / "helm" / "render.go"
    subprocess.run([str(go), "build", "-o", str(made), str(source)], env=environment, check=True)
    return made


@pytest.fixture(scope="module", autouse=True)
def no_renderer_left() -> Any:
    yield
    if renderer.cache_info().currsize:
        renderer().unlink()


@functools.cache
def whole(name: str) -> list[Manifest]:
    return rendered({"all on": ALL_ON, "least": LEAST}[name])


def kinds(name: str, kind: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"].removeprefix("r1-"): m for m in whole(name) if m["kind"] == kind}


def pods(name: str) -> dict[str, Manifest]:
    return {
        n: m["spec"]["template"]["spec"] for k in ("Deployment", "Job") for n, m in kinds(name, k).items()
    }


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", ["all on", "least"])
def test_everything_is_what_kubernetes_takes(name: str, version: str) -> None:
    checked = [manifest for manifest in whole(name) if manifest["kind"] not in OF_OPERATORS]
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)
    assert len(checked) >= 2 * len(of_the_procfile()) + 3


def test_names_are_given_once_a_kind() -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in whole("all on")]
    assert len(names) == len(set(names))


def test_deployments_and_the_hook_run_the_commands_of_the_procfile() -> None:
    (commands,) = {
        json.dumps({process: pod["containers"][0]["command"] for process, pod in sorted(pods(name).items())})
        for name in ("all on", "least")
    }
    assert json.loads(commands) == of_the_procfile() | {"apply": ["headrace", "apply"]}
    assert set(kinds("least", "Job")) == {"release", "apply"}


def test_migrations_come_before_new_processes_and_definitions_after_them() -> None:
    hooks = {n: job["metadata"]["annotations"] for n, job in kinds("all on", "Job").items()}
    assert hooks["release"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert hooks["apply"]["helm.sh/hook"] == "pre-install,post-upgrade"
    assert int(hooks["release"]["helm.sh/hook-weight"]) < int(hooks["apply"]["helm.sh/hook-weight"])


def test_probes_ask_health_and_readiness_where_the_image_serves_them() -> None:
    port = int(image_environment()["HEADRACE_METRICS_PORT"])
    for name, manifest in kinds("least", "Deployment").items():
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")}
        assert paths == {"liveness": "/healthz", "readiness": "/readyz"}, name
        assert {"name": "metrics", "containerPort": port} in container["ports"]


def test_pods_may_do_nothing_that_they_need_not_and_are_given_time_to_stop() -> None:
    for pod in pods("all on").values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert pod["terminationGracePeriodSeconds"] > Settings().stop_within_s + 5
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_secrets_are_only_referred_to_and_there_must_be_one() -> None:
    assert not kinds("all on", "Secret")
    for pod in pods("all on").values():
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "headrace"}}]
    refused = run({})
    assert refused.returncode != 0
    assert "set secret" in refused.stderr


def test_definitions_come_to_the_files_that_apply_reads() -> None:
    (config,) = kinds("all on", "ConfigMap").values()
    assert {k: json.loads(v) for k, v in config["data"].items()} == {
        "apps.shop.json": DEFINITIONS["apps"]["shop"]
    }
    (mounted,) = [v["configMap"] for v in pods("all on")["apply"]["volumes"] if v["name"] == "definitions"]
    assert mounted["items"] == [{"key": "apps.shop.json", "path": "apps/shop.json"}]
    mounts = {m["name"]: m["mountPath"] for m in pods("all on")["apply"]["containers"][0]["volumeMounts"]}
    assert mounts["definitions"] == image_environment()["HEADRACE_CONFIG_DIR"]
    assert not kinds("least", "ConfigMap")


def test_who_scales_merge_workers_alone_says_how_many_there_are() -> None:
    assert "replicas" not in kinds("all on", "Deployment")["merge"]["spec"]
    assert kinds("least", "Deployment")["merge"]["spec"]["replicas"] == 2
    assert not kinds("least", "ScaledObject")
    assert kinds("all on", "ScaledObject")["merge"]["spec"]["scaleTargetRef"] == {"name": "r1-merge"}


@pytest.mark.services
def test_the_control_database_answers_what_keda_asks(postgres_database: str) -> None:
    engine = control_engine(postgres_database)
    upgrade(engine)
    engine.dispose()
    (trigger,) = kinds("all on", "ScaledObject")["merge"]["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    assert trigger["metadata"]["connectionFromEnv"] == "HEADRACE_CONTROL_URL"
    with psycopg.connect(postgres_database) as connection:
        assert connection.execute(trigger["metadata"]["query"]).fetchall() == [(0,)]


def test_network_policies_select_every_pod_and_let_in_what_was_given() -> None:
    every, web = kinds("all on", "NetworkPolicy")["r1"], kinds("all on", "NetworkPolicy")["web"]
    chosen = every["spec"]["podSelector"]["matchLabels"].items()
    for manifest in kinds("all on", "Deployment").values():
        assert chosen <= manifest["spec"]["template"]["metadata"]["labels"].items()
    assert web["spec"]["ingress"][0]["from"] == ALL_ON["networkPolicy"]["apiFrom"]  # type: ignore[index]
    assert every["spec"]["egress"] == ALL_ON["networkPolicy"]["egress"]  # type: ignore[index]
    open_ = kinds("least", "NetworkPolicy")["r1"]["spec"]
    assert open_["ingress"][0]["from"] == [{"podSelector": {}}]
    assert "169.254.0.0/16" in open_["egress"][1]["to"][0]["ipBlock"]["except"]


def test_every_value_is_used_and_every_used_value_is_there() -> None:
    texts = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.(\w+)", texts))
    assert used == set(yaml.safe_load((CHART / "values.yaml").read_text()))
