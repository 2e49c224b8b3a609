"""Where the API may let Headrace connect to: asked at each connect, and what was checked is connected.

The config directory is its owner's own and is not asked.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from psycopg.conninfo import make_conninfo

from headrace.errors import ConfigurationError, Fault, StoreUnavailableError
from headrace.settings import Settings
from headrace.stores.address import Address, AllowedNetworks, host_name, literal_address
from headrace.stores.given_url import GivenPostgres, GivenSqlite, read_url, refused

Resolver = Callable[[str], Sequence[str]]
"""The addresses of a host's name, as texts. Raises OSError when it cannot be told."""

_NO_FILE: Final = "/dev/null/none"
"""No file has this path: libpq would look for the owner's own in the home directory."""
_MOST_ADDRESSES: Final = 8
_OTHERS_FILES: Final = ("-wal", "-shm", "-journal")


def system_addresses(name: str) -> Sequence[str]:
    """What this machine's resolver says now."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedHosts:
    """
    Attributes:
        networks: those in which every address of a host must be.
        names: where there are any, hosts that are given by name must be one of these.
        sqlite_directory: where SQLite files may be; None: nowhere.
        reserved: files that are no data source's.
        resolve: asked at each connect, once.
    """

    networks: AllowedNetworks
    names: frozenset[str] = frozenset()
    sqlite_directory: Path | None = None
    reserved: tuple[Path, ...] = ()
    resolve: Resolver = system_addresses

    @classmethod
    def from_settings(cls, settings: Settings, *, resolve: Resolver = system_addresses) -> AllowedHosts:
        """What `HEADRACE_ALLOWED_HOSTS` and `HEADRACE_SQLITE_DIR` allow.

        Raises:
            ConfigurationError: an entry is no network and no name.
        """
        try:
            names, networks = split_hosts(settings.allowed_hosts)
        except ValueError as error:
            raise ConfigurationError(Fault("HEADRACE_ALLOWED_HOSTS", "", str(error))) from None
        control = settings.control_url.partition("?")[0]
        reserved = (Path(control.removeprefix("sqlite:///")),) if control.startswith("sqlite:") else ()
        return cls(
            networks=AllowedNetworks.of(networks),
            names=frozenset(names),
            sqlite_directory=settings.sqlite_dir,
            reserved=reserved,
            resolve=resolve,
        )

    def pinned(self, url: str) -> str:
        """What to connect with now, and only now: the addresses in it are those that were checked.

        A connection string of libpq with `hostaddr` (the host stays, for TLS to verify), or a `sqlite:///`
        URL of a path without links.

        Raises:
            RefusedError: `host_not_allowed`; tells neither addresses nor secrets.
            StoreUnavailableError: the host's name leads nowhere now.
        """
        given = read_url(url)
        if isinstance(given, GivenSqlite):
            return f"sqlite:///{quote(str(self._file(given)))}"
        return _conninfo(given, self._addresses(given.host))

    def _addresses(self, host: str) -> list[Address]:
        if not self.networks.networks:
            raise refused(
                "adding data sources by the API is not switched on: set HEADRACE_ALLOWED_HOSTS to the"
                " networks in which their hosts may be, such as 10.20.0.0/16"
            )
        literal = literal_address(host)
        found = self._resolved(host) if literal is None else [literal]
        if not all(map(self.networks.allow, found)):
            raise refused(
                f"host {host} is not in the networks of HEADRACE_ALLOWED_HOSTS with all of its addresses"
            )
        return found

    def _resolved(self, host: str) -> list[Address]:
        name = host_name(host)
        if name is None:
            raise refused(f"host {host!r} is neither a name nor an address in its usual spelling")
        if self.names and name not in self.names:
            raise refused(f"host {name} is not among the names of HEADRACE_ALLOWED_HOSTS")
        try:
            texts = self.resolve(name)
        except (OSError, UnicodeError) as error:
            raise StoreUnavailableError(f"the name {name} leads to no address now") from error
        found = [literal_address(text) for text in texts]
        if not found or None in found or len(found) > _MOST_ADDRESSES:
            raise refused(f"host {name} leads to no address that can be checked, or to too many")
        return [address for address in found if address is not None]

    def _file(self, given: GivenSqlite) -> Path:
        if self.sqlite_directory is None:
            raise refused(
                "adding SQLite data sources by the API is not switched on: set HEADRACE_SQLITE_DIR to the"
                " directory in which their files may be"
            )
        directory = self.sqlite_directory.resolve()
        path = Path(given.path)
        # Links are followed before the comparison, so that what is opened has none.
        path = (path if path.is_absolute() else directory / path).resolve()
        if not path.is_relative_to(directory) or path == directory:
            raise refused("the file is not in the directory of HEADRACE_SQLITE_DIR")
        if path.name.endswith(_OTHERS_FILES):
            raise refused(
                f"a file whose name ends with {', '.join(_OTHERS_FILES)} is part of another database"
            )
        if path.exists() and not path.is_file():
            raise refused("what is there is no file")
        if any(_same(path, reserved) for reserved in self.reserved):
            raise refused("the file is no data source's: Headrace keeps its own tables there")
        return path


def split_hosts(entries: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names of hosts, and the networks.

    Raises:
        ValueError: an entry is neither, or there are names and no network.
    """
    names, networks = [], []
    for entry in entries:
        if (name := host_name(entry)) is not None:
            names.append(name)
            continue
        try:
            AllowedNetworks.of([entry])
        except ValueError:
            raise ValueError(
                f"{entry!r} is neither the name of a host nor a network such as 10.20.0.0/16"
            ) from None
        networks.append(entry)
    if names and not networks:
        raise ValueError("names alone allow nothing: add the networks in which their addresses are")
    return names, networks


def _conninfo(given: GivenPostgres, addresses: Sequence[Address]) -> str:
    """Every parameter by which libpq would look for files, sockets or services of its own is set."""
    password = {} if given.password is None else {"password": given.password}
    user = {"user": given.user} if given.user else {}
    return make_conninfo(
        **{
            **given.parameters,
            **user,
            **password,
            "host": ",".join([given.host] * len(addresses)),
            "hostaddr": ",".join(map(str, addresses)),
            "port": ",".join([str(given.port)] * len(addresses)),
            "dbname": given.database,
            "passfile": _NO_FILE,
            "sslcert": _NO_FILE,
            "sslkey": _NO_FILE,
            "gssencmode": "disable",
        }
    )


def _same(path: Path, other: Path) -> bool:
    return path == other.resolve() or (path.exists() and other.exists() and path.samefile(other))
