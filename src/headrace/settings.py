"""Settings from the environment (prefix `HEADRACE_`): read once, at the edge of a process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, NonNegativeInt, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from headrace.errors import ConfigurationError, Fault

PREFIX: Final = "HEADRACE_"
METRICS_PORTS: Final = {"scheduler": 9101, "fetch": 9102, "merge": 9103, "relay": 9104, "triggers": 9105}
"""`headrace web` has none: unless the port is set, its metrics are served where its API is."""
BROKER_SCHEMES: Final = ("memory", "redis", "rediss", "amqp", "amqps")
EVENTS_SCHEMES: Final = ("redis", "rediss", "amqp", "amqps")
CONTROL_SCHEMES: Final = ("sqlite", "postgresql")

_SCHEME = re.compile(r"([a-z][a-z0-9]*)://")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_PASSWORD = re.compile(r"(://[^:/\s]*):[^\s]*@")

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
MIN_RSS_MIB: Final = 256
"""A limit below what a process holds when it has done nothing would replace it for ever."""


class Settings(BaseSettings):
    """Every setting, checked; immutable. Its repr shows no password and no key.

    An environment variable that is empty counts as not set.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True
    )

    # What each means is said behind it: docs/make_reference.py makes docs/settings.md of it.

    config_dir: Path = Path("config")
    """The directory of definitions."""
    control_url: str = "sqlite:///.headrace/control.db"
    """The control database: sqlite:///path (relative to the current directory) or postgresql://…"""
    broker_url: str = "memory://"
    """The broker of nudges: redis://, rediss://, amqp:// or amqps://; memory only in one process."""
    events_url: str | None = None
    """The broker of messages from outside (triggers) and of events: redis://, rediss://, amqp:// or amqps://;
    it may be that of `HEADRACE_BROKER_URL`."""
    http_host: str = "127.0.0.1"
    """Where `headrace web` listens."""
    http_port: Port = 8080
    """Where `headrace web` listens; 0: any free one, logged."""
    http_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated origins (https://app.example.com) whose pages may call `/embed/v1`."""
    http_rate: NonNegativeInt = 100
    """Requests a second that one token may make of one process; 0: as many as it likes."""
    http_burst: Count = 200
    """How many of them at once."""
    http_max_body_bytes: Count = 1024 * 1024
    """A bigger body is refused."""
    metrics_host: str = "127.0.0.1"
    """Where every process serves its metrics and health. Apart from `HEADRACE_HTTP_HOST`: customers may reach
    the API, and metrics are the operator's. In a container set 0.0.0.0, and let the network decide who may
    call."""
    metrics_port: Port | None = None
    """None: the process's own (scheduler 9101, fetch 9102, merge 9103, relay 9104, triggers 9105, `headrace
    up` a free one); 0: any free one, logged. A second process of a kind on one host needs another port, or 0.
    `headrace web` serves its metrics where its API is unless this is set: then here alone."""
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Comma-separated passphrases, random ones (`openssl rand -base64 32`), by which secrets in the control
    database are sealed: the first seals, all open. `headrace web` needs one."""
    trigger_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Comma-separated secrets, each `whsec_` and 24 to 64 bytes in base64, by which those without an API
    token sign triggers that they send to `headrace web`: any of them holds, so that a new one is added before
    an old one goes. None: no signed trigger is taken."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto: console where stderr is a terminal, else json. Commands that end, other than `headrace up` and
    the workers, write console lines unless it is set."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on lines are logged; commands tell warnings only unless this is set."""
    queue_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "headrace"
    """Prefix of every Redis key; on RabbitMQ, and of the queues of `HEADRACE_EVENTS_URL`, with a dot before
    each name unless it is the default. Installations with different ones share a broker without meeting."""

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated networks (CIDR), and names in them, where data sources that the API adds may be; none:
    it adds none on PostgreSQL."""
    sqlite_dir: Path | None = None
    """The directory in which files of SQLite data sources that the API adds must be; none: it adds none."""

    events_keep_s: Seconds = 24 * 3600.0
    """Record events that every sink has are kept in their data source for so long, to be given again."""
    events_keep_aside_s: Seconds = 30 * 24 * 3600.0
    """Likewise those that a webhook did not take and nobody asked for again."""
    threads: Count = 4
    """Feeds of one app, or models of one data source, that one worker process handles at a time; it has a
    thread more, so that nobody's backlog takes all of them."""
    lease_s: Seconds = 20.0
    """How long a silent worker keeps a feed: one that has died is replaced after this time, a living one
    renews."""
    tick_every_s: Seconds = 0.25
    """Time between looks of the scheduler."""
    sweep_every_s: Seconds = 15.0
    """Time between sweeps for what was lost."""
    resend_after_s: Seconds = 30.0
    """A poll that was sent and that no worker has taken is sent again after this time."""
    pause_after_failures: NonNegativeInt = 100
    """Polls of a feed that fail in a row for what only a person can mend pause it; 0: never."""
    nudge_lost_s: Seconds = 15.0
    """A batch that has waited for so long has lost its nudge: the sweeper repeats it."""
    stop_within_s: Seconds = 20.0
    """How long a process that was asked to stop waits for what is running."""
    max_messages: Count | None = None
    """A fetch or merge worker that has handled so many asks to be replaced: it stops as on SIGTERM, with 0,
    and its supervisor starts another."""
    max_rss_mib: Annotated[int, Field(ge=MIN_RSS_MIB)] | None = None
    """So does any process that holds more memory than this, in MiB; looked at once a second."""
    page_rows: Count = 50_000
    """Most rows of a page, unless the source says otherwise."""
    page_bytes: Count = 8 * 1024 * 1024
    """The largest page."""
    max_cell_bytes: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = 1024 * 1024
    """A bigger value stays in its source: null and invalid in its record, with its size."""
    reread_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The part of the time that a feed may read rows again behind which an open transaction may still commit
    one; new rows never wait for it."""
    max_pending_batches: Count = 64
    """Unmerged batches of a feed in a data source beyond which it is not read on until merges have drained; a
    data source that takes none for 10 s while others do is left out instead, and read again in full when it
    does."""
    max_pending_bytes: NonNegativeInt = 256 * 1024 * 1024
    """Likewise their bytes."""
    retention_batches_s: Seconds = 24 * 3600.0
    """How long the sweeper keeps batches that are merged, without their rows; of each log the last one
    stays."""
    retention_runs_s: Seconds = 30 * 86400.0
    """How long runs are kept."""
    retention_triggers_s: Seconds = 30 * 86400.0
    """How long triggers that came are kept."""
    retention_rejected_s: Seconds = 30 * 86400.0
    """How long rejected rows are kept that were resolved or discarded; open ones are for good."""
    max_open_stores: Count = 50
    """Data sources that one process keeps connections to; for one more, the one used longest ago that is not
    in use is closed."""

    @field_validator("http_origins", "secret_keys", "trigger_secrets", "allowed_hosts", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("http_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin} is no origin: scheme://host or scheme://host:port is needed")
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker_scheme(cls, value: str) -> str:
        return _with_scheme(value, BROKER_SCHEMES)

    @field_validator("events_url")
    @classmethod
    def _events_scheme(cls, value: str | None) -> str | None:
        return None if value is None else _with_scheme(value, EVENTS_SCHEMES)

    @field_validator("control_url")
    @classmethod
    def _control_scheme(cls, value: str) -> str:
        return _with_scheme(value, CONTROL_SCHEMES)

    def metrics_port_of(self, process: str) -> int:
        """The port of this process's `/metrics`: the one that was set, else the process's default."""
        return METRICS_PORTS.get(process, 0) if self.metrics_port is None else self.metrics_port

    def secrets(self) -> tuple[str, ...]:
        """What no log line may show."""
        return tuple(each.get_secret_value() for each in (*self.secret_keys, *self.trigger_secrets))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _PASSWORD.sub(r"\1:***@", value) if isinstance(value, str) else value


def load(**overrides: Any) -> Settings:
    """The settings of the environment, with `overrides` (field names) on top.

    Errors: `ConfigurationError` with one fault per wrong variable, by its name and without its value,
    which may be a secret.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = [_fault(details["loc"], details["msg"]) for details in error.errors(include_input=False)]
    raise ConfigurationError(*faults)


def _fault(location: tuple[int | str, ...], message: str) -> Fault:
    variable = PREFIX + str(location[0]).upper()
    return Fault(variable, "", message.removeprefix("Value error, "))


def _with_scheme(value: str, allowed: tuple[str, ...]) -> str:
    match = _SCHEME.match(value.replace("+psycopg", "", 1))
    if match is None or match[1] not in allowed:
        raise ValueError(f"must start with one of {', '.join(f'{scheme}://' for scheme in allowed)}")
    return value
