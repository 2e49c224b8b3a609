"""The URL of a data source as somebody gave it to the API, taken apart without a driver's help.

What is passed on is written anew from these parts: nothing that a driver would read otherwise than we did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

PARAMETERS: Final = frozenset(
    {
        "channel_binding",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
    }
)
OURS: Final = frozenset({"application_name", "connect_timeout"})
"""May be in the URL, and are left out: Headrace sets its own."""
_DEFAULT_PORT: Final = 5432


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPostgres:
    """A PostgreSQL server as somebody gave it; nothing of it is checked but its form."""

    host: str
    port: int
    user: str
    password: str | None
    database: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GivenSqlite:
    path: str


def read_url(url: str) -> GivenPostgres | GivenSqlite:
    """The parts of a URL.

    Raises:
        RefusedError: it is of no kind that the API takes, or has more than allowed parameters. Tells
            nothing of user, password and database.
    """
    if any(not c.isprintable() or c.isspace() for c in url):
        raise refused("the URL holds a space or a control character; percent-encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refused("the URL cannot be read: its port is a number, an IPv6 address stands in [ ]") from None
    if parts.fragment:
        raise refused("the URL has a #: percent-encode it as %23")
    match parts.scheme:
        case "postgresql" | "postgres":
            return _postgres(parts, port or _DEFAULT_PORT)
        case "sqlite":
            return _sqlite(parts)
    raise refused("the URL begins with neither postgresql:// nor sqlite:///")


def refused(detail: str) -> RefusedError:
    return RefusedError(Refusal.HOST_REFUSED, detail)


def _postgres(parts: SplitResult, port: int) -> GivenPostgres:
    host = parts.netloc.rpartition("@")[2]
    if not parts.hostname:
        raise refused("the URL names no host: sockets of this machine are not allowed")
    if "," in host:
        raise refused("the URL names several hosts: give one")
    if "%" in host or host.startswith("/"):
        raise refused("the host is written with a percent sign: sockets and zones are not allowed")
    database = _text(parts.path.removeprefix("/"))
    if not database or "/" in database:
        raise refused("the URL ends with the name of one database: postgresql://user@host:port/database")
    return GivenPostgres(
        host=parts.hostname,
        port=port,
        user=_text(parts.username or ""),
        password=None if parts.password is None else _text(parts.password),
        database=database,
        parameters=_parameters(parts.query),
    )


def _parameters(query: str) -> dict[str, str]:
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise refused("what follows the ? of the URL cannot be read: name=value, with & between") from None
    if len(dict(given)) < len(given):
        raise refused("the URL gives a parameter twice")
    unknown = sorted(name for name, _ in given if name not in PARAMETERS | OURS)
    if unknown:
        raise refused(
            f"the URL's parameter {unknown[0]!r} is not allowed; those that are: "
            f"{', '.join(sorted(PARAMETERS))}"
        )
    kept = {name: value for name, value in given if name in PARAMETERS}
    if kept.get("sslrootcert", "system") != "system":
        raise refused("sslrootcert may only be system: files of this machine are not read for the API")
    if any("\0" in value for value in kept.values()):
        raise refused("a parameter of the URL holds a NUL character")
    return kept


def _sqlite(parts: SplitResult) -> GivenSqlite:
    if parts.netloc or parts.query:
        raise refused("a SQLite data source is sqlite:///path, without a host and without parameters")
    return GivenSqlite(_text(parts.path)[1:])


def _text(part: str) -> str:
    try:
        text = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise refused("the URL percent-encodes what is no UTF-8") from None
    if "\0" in text:
        raise refused("the URL holds a NUL character")
    return text
