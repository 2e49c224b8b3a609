"""The Procfile, deploy/compose.yaml and the image, as far as they say how Headrace's processes are run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

ROOT: Final = Path(__file__).parents[1]
DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose.yaml"
DOCKERFILE: Final = DEPLOY / "Dockerfile"
ASKED_FOR: Final = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
_INSTRUCTION: Final = re.compile(r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.MULTILINE)


def of_the_procfile() -> dict[str, list[str]]:
    """The Procfile's commands by process."""
    lines = (line.partition(":") for line in (ROOT / "Procfile").read_text().splitlines())
    return {name: command.split() for name, _, command in lines}


def services() -> dict[str, dict[str, Any]]:
    """The services as they are written, `${…}` and all."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return loaded


def ours() -> dict[str, dict[str, Any]]:
    """Those that run Headrace's image."""
    return {name: service for name, service in services().items() if service["image"] == "headrace"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return [(name, arguments.replace("\\\n", " ")) for name, arguments in _INSTRUCTION.findall(text)]


def image_environment() -> dict[str, str]:
    """What the image sets for Headrace."""
    texts = [arguments for name, arguments in instructions() if name == "ENV"]
    return {k: v for text in texts for k, v in re.findall(r"(HEADRACE_\w+)=(\S+)", text)}


def environment(service: str, given: Mapping[str, str], hosts: Mapping[str, str]) -> dict[str, str]:
    """What a process of this service is started with, where it can run without containers.

    Args:
        given: what `${…}` stands for.
        hosts: by name of a service the URL of the server that stands for it; its path stays as it is here.
    """
    found = {}
    for name, value in services()[service]["environment"].items():
        text = ASKED_FOR.sub(lambda asked: given[asked[1]], str(value))
        host = urlsplit(text).hostname
        found[name] = text if host is None else hosts.get(host, text)
    return image_environment() | found
