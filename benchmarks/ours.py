"""`headrace sync` with a store in PostgreSQL; the control database is SQLite in a file, or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import users
from benchmarks.database import database, settle
from benchmarks.measured import Measured, run_measured
from benchmarks.project import define, headrace
from benchmarks.users import Checksum, Form


@dataclass(frozen=True, slots=True)
class HeadraceCopy:
    project: Path
    store_url: str
    environment: Mapping[str, str]

    def merge(self) -> Measured:
        settle(self.store_url)
        return sync(self.project, self.environment)

    def checksum(self, form: Form = Form.EXACT) -> Checksum:
        return users.checksum(self.store_url, "headrace.users", form)


@dataclass(frozen=True, slots=True)
class Headrace:
    control: str = "sqlite"

    @property
    def name(self) -> str:
        return "headrace" if self.control == "sqlite" else "headrace, control in PostgreSQL"

    @contextmanager
    def begin(self, source_url: str, directory: Path) -> Iterator[HeadraceCopy]:
        with ExitStack() as stack:
            store_url = stack.enter_context(database("store"))
            control_url = (
                f"sqlite:///{directory / 'control.db'}"
                if self.control == "sqlite"
                else stack.enter_context(database("control"))
            )
            define(directory)
            yield HeadraceCopy(
                directory,
                store_url,
                {"SHOP_URL": source_url, "STORE_URL": store_url, "HEADRACE_CONTROL_URL": control_url},
            )


def sync(project: Path, environment: Mapping[str, str]) -> Measured:
    """The whole process, from its start to its exit."""
    return run_measured(
        [headrace(), "sync"], directory=project, environment=environment, log=project / "headrace.log"
    )
