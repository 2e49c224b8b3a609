"""Where the API may let Headrace connect to. The resolver is a table, or one that changes its mind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from headrace.errors import ConfigurationError, RefusedError, StoreUnavailableError
from headrace.settings import Settings
from headrace.stores.address import AllowedNetworks
from headrace.stores.allowed_host import AllowedHosts, split_hosts

ADDRESSES: Mapping[str, Sequence[str]] = {
    "db.example.com": ["10.20.0.5"],
    "two.example.com": ["10.20.0.5", "10.20.0.6"],
    "half.example.com": ["10.20.0.5", "192.168.1.1"],
    "mapped.example.com": ["::ffff:10.20.0.7"],
    "sly.example.com": ["::ffff:192.168.1.1"],
    "zone.example.com": ["fe80::1%eth0"],
    "localhost": ["127.0.0.1"],
}


def table(name: str) -> Sequence[str]:
    try:
        return ADDRESSES[name]
    except KeyError:
        raise OSError("no such name") from None


def allowed(*networks: str, names: tuple[str, ...] = ()) -> AllowedHosts:
    return AllowedHosts(
        networks=AllowedNetworks.of(networks or ("10.20.0.0/16",)), names=frozenset(names), resolve=table
    )


def connection(url: str, hosts: AllowedHosts | None = None) -> dict[str, object]:
    return dict(conninfo_to_dict((hosts or allowed()).pinned(url)))


def why_refused(url: str, hosts: AllowedHosts | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        (hosts or allowed()).pinned(url)
    assert caught.value.code == "host_not_allowed"
    assert "secret" not in caught.value.detail
    return caught.value.detail


def test_the_checked_address_is_pinned_and_the_name_kept_for_tls() -> None:
    found = connection("postgresql://me:s%40cret@db.example.com:6432/store?sslmode=verify-full")
    assert found["host"] == "db.example.com"
    assert found["hostaddr"] == "10.20.0.5"
    assert found["port"] == "6432"
    assert found["password"] == "s@cret"
    assert found["sslmode"] == "verify-full"
    assert found["dbname"] == "store"


def test_all_addresses_of_a_name_must_be_allowed() -> None:
    assert connection("postgresql://two.example.com/store")["hostaddr"] == "10.20.0.5,10.20.0.6"
    assert "all of its addresses" in why_refused("postgresql://half.example.com/store")


def test_a_resolver_that_changes_its_mind_is_asked_once_a_connect() -> None:
    answers: Iterator[list[str]] = iter([["10.20.0.5"], ["169.254.169.254"], ["10.20.0.6"]])
    hosts = replace(allowed(), resolve=lambda name: next(answers))
    url = "postgresql://rebinding.example.com/store"
    assert connection(url, hosts)["hostaddr"] == "10.20.0.5"
    why_refused(url, hosts)
    assert connection(url, hosts)["hostaddr"] == "10.20.0.6"


def test_an_ipv4_address_in_the_clothes_of_ipv6_is_that_address() -> None:
    assert connection("postgresql://mapped.example.com/store")["hostaddr"] == "10.20.0.7"
    assert connection("postgresql://[::ffff:10.20.0.7]/store")["hostaddr"] == "10.20.0.7"
    why_refused("postgresql://sly.example.com/store")
    why_refused("postgresql://[::ffff:169.254.169.254]/store", allowed("::/0", "0.0.0.0/0"))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "0.0.0.0",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "127.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "localhost",
    ],
)
def test_some_addresses_are_refused_even_where_all_are_allowed(host: str) -> None:
    why_refused(f"postgresql://me:secret@{host}/store", allowed("0.0.0.0/0", "::/0"))


def test_loopback_is_allowed_only_by_name() -> None:
    hosts = allowed("127.0.0.0/8", "::1/128")
    assert connection("postgresql://127.0.0.1/store", hosts)["hostaddr"] == "127.0.0.1"
    assert connection("postgresql://localhost/store", hosts)["hostaddr"] == "127.0.0.1"
    assert connection("postgresql://[::1]/store", hosts)["hostaddr"] == "::1"


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "010.20.0.5",
        "127.1",
        "10.20.5",
        "10.20.0.5.",
        "0xa.0x14.0.5",
        "10.20.0.0x5",
        "١٠.20.0.5",
        "10。20。0。5",
        "zone.example.com",
        "db..example.com",
        "-db.example.com",
    ],
)  # fmt: skip
def test_other_spellings_of_addresses_are_refused(host: str) -> None:
    why_refused(f"postgresql://me:secret@{host}/store", allowed("0.0.0.0/0", "::/0"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example.com,db.example.com/store",
        "postgresql://db.example.com:5432,169.254.169.254:5432/store",
        "postgresql:///store",
        "postgresql:///store?host=/var/run/postgresql",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/store",
        "postgresql://@/store",
        "postgresql://[fe80::1%25eth0]/store",
        "postgresql://db.example.com",
        "postgresql://db.example.com/store/more",
        "postgresql://db.example.com:port/store",
        "postgresql://db.example.com:99999/store",
        "postgresql://db.example.com/store#more",
        "postgresql://db.example.com/sto re",
        "postgresql://db.example.com/store\n",
        "postgresql://db.example.com/sto%00re",
        "postgresql://db.example.com/%ff",
        "host=db.example.com dbname=store",
        "service=production",
        "mysql://db.example.com/store",
        "file:///etc/passwd",
        "",
    ],
)  # fmt: skip
def test_urls_of_other_forms_are_refused(url: str) -> None:
    why_refused(url)


@pytest.mark.parametrize(
    "query",
    [
        "host=169.254.169.254",
        "hostaddr=169.254.169.254",
        "port=1",
        "service=production",
        "passfile=/home/headrace/.pgpass",
        "options=-csearch_path%3Dpublic",
        "sslcert=/etc/ssl/client.crt",
        "sslkey=/etc/ssl/client.key",
        "sslrootcert=/etc/passwd",
        "sslcrl=/etc/passwd",
        "sslkeylogfile=/tmp/keys",
        "krbsrvname=postgres",
        "requirepeer=root",
        "dbname=other",
        "user=other",
        "password=secret",
        "sslmode=require&sslmode=disable",
        "sslmode=require;host=169.254.169.254",
        "sslmode",
        "SSLMODE=require",
        "sslmode=%00",
    ],
)
def test_parameters_that_are_not_listed_are_refused(query: str) -> None:
    if query.startswith("sslmode=require;"):
        # One value for us, and one for libpq: quoted in what is passed on.
        found = connection(f"postgresql://db.example.com/store?{query}")
        assert found["sslmode"] == "require;host=169.254.169.254"
        assert found["hostaddr"] == "10.20.0.5"
        return
    why_refused(f"postgresql://me:secret@db.example.com/store?{query}")


def test_what_libpq_would_take_from_this_machine_is_set() -> None:
    found = connection("postgresql://db.example.com/store?application_name=x&connect_timeout=3")
    assert found["passfile"] == found["sslcert"] == found["sslkey"] == "/dev/null/none"
    assert not Path("/dev/null/none").exists()
    assert "application_name" not in found
    assert "service" not in found


def test_a_value_cannot_become_a_parameter() -> None:
    found = connection("postgresql://u%27%20host%3D1.2.3.4:p%5C%27@db.example.com/d%27%20service%3Dx")
    assert found["host"] == "db.example.com"
    assert found["user"] == "u' host=1.2.3.4"
    assert found["password"] == "p\\'"
    assert found["dbname"] == "d' service=x"


def test_names_narrow_what_networks_allow() -> None:
    hosts = allowed("10.20.0.0/16", names=("db.example.com",))
    assert connection("postgresql://DB.example.com./store", hosts)["hostaddr"] == "10.20.0.5"
    assert "names" in why_refused("postgresql://two.example.com/store", hosts)
    assert connection("postgresql://10.20.0.9/store", hosts)["hostaddr"] == "10.20.0.9"


def test_a_name_that_leads_nowhere_may_lead_somewhere_later() -> None:
    with pytest.raises(StoreUnavailableError, match="the name gone"):
        allowed().pinned("postgresql://me:secret@gone.example.com/store")


def test_nothing_is_allowed_until_a_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_ALLOWED_HOSTS", raising=False)
    monkeypatch.delenv("HEADRACE_SQLITE_DIR", raising=False)
    hosts = AllowedHosts.from_settings(Settings(), resolve=table)
    assert "HEADRACE_ALLOWED_HOSTS" in why_refused("postgresql://db.example.com/store", hosts)
    assert "HEADRACE_SQLITE_DIR" in why_refused("sqlite:///store.db", hosts)


def test_settings_say_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_ALLOWED_HOSTS", "10.20.0.0/16, db.example.com")
    hosts = AllowedHosts.from_settings(Settings(), resolve=table)
    assert connection("postgresql://db.example.com/store", hosts)["hostaddr"] == "10.20.0.5"
    assert split_hosts(["10.0.0.0/8", "::1/128", "DB.x."]) == (["db.x"], ["10.0.0.0/8", "::1/128"])


@pytest.mark.parametrize("entry", ["10.20.0.1/16", "10.20.0.0/33", "db.example.com", "0x7f.1", "*"])
def test_a_setting_that_cannot_be_meant_is_told(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("HEADRACE_ALLOWED_HOSTS", entry)
    with pytest.raises(ConfigurationError, match="HEADRACE_ALLOWED_HOSTS"):
        AllowedHosts.from_settings(Settings())


# --- SQLite -------------------------------------------------------------------------------------


def confined(directory: Path, *reserved: Path) -> AllowedHosts:
    return AllowedHosts(networks=AllowedNetworks(()), sqlite_directory=directory, reserved=reserved)


def test_a_sqlite_file_is_in_the_directory(tmp_path: Path) -> None:
    hosts = confined(tmp_path)
    assert hosts.pinned("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    assert hosts.pinned(f"sqlite:///{tmp_path}/sub/b.db") == f"sqlite:///{tmp_path}/sub/b.db"
    assert hosts.pinned("sqlite:///a%20%23.db") == f"sqlite:///{tmp_path}/a%20%23.db"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////etc/passwd",
        "sqlite:///../outside.db",
        "sqlite:///sub/../../outside.db",
        "sqlite:///%2e%2e/outside.db",
        "sqlite:///",
        "sqlite:///.",
        "sqlite:///a.db?mode=memory",
        "sqlite://host/a.db",
        "sqlite:///a.db-wal",
        "sqlite:///a.db-journal",
        "sqlite:///a.db-shm",
        "sqlite:///a%00.db",
        "sqlite:///link",
        "sqlite:///linked/a.db",
        "sqlite:///directory",
        "sqlite:///control.db",
        "sqlite:///hard.db",
    ],
)
def test_a_sqlite_file_is_nowhere_else(tmp_path: Path, url: str) -> None:
    directory = tmp_path / "stores"
    (directory / "directory").mkdir(parents=True)
    (tmp_path / "outside.db").touch()
    (directory / "control.db").touch()
    (directory / "hard.db").hardlink_to(directory / "control.db")
    (directory / "link").symlink_to(tmp_path / "outside.db")
    (directory / "linked").symlink_to(tmp_path)
    why_refused(url, confined(directory, directory / "control.db"))


def test_a_link_that_is_made_later_is_seen_at_the_next_connect(tmp_path: Path) -> None:
    directory = tmp_path / "stores"
    directory.mkdir()
    hosts = confined(directory)
    assert hosts.pinned("sqlite:///a.db")
    (directory / "a.db").symlink_to(tmp_path / "outside.db")
    why_refused("sqlite:///a.db", hosts)
