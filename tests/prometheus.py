"""A Prometheus of the test's own, that scrapes what it is told to."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.servers import NotInstalledError, free_port

START_S = 30.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Its HTTP API."""

    client: httpx.Client

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The samples that an expression gives now."""
        found = self.ask("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]


@contextmanager
def scraping(directory: Path, targets: Mapping[str, str], *, rules: Path) -> Iterator[Prometheus]:
    """Prometheus runs and scrapes these addresses every second, each with its name as `instance`."""
    program = shutil.which("prometheus")
    if program is None:
        raise NotInstalledError("prometheus is not installed: apt-get install prometheus")
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": "headrace",
                "static_configs": [
                    {"targets": [address], "labels": {"instance": name}} for name, address in targets.items()
                ],
            }
        ],
    }
    directory.mkdir()
    file, log, port = directory / "prometheus.yml", directory / "log", free_port()
    file.write_text(yaml.safe_dump(configuration))
    command = [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                _await_ready(client, process, log)
                yield Prometheus(client)
        finally:
            process.terminate()


def _await_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        ended = process.poll() is not None or time.monotonic() > deadline
        assert not ended, f"Prometheus does not answer\n{log.read_text()[-4000:]}"
        time.sleep(0.05)
