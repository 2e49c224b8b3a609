from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace import settings
from headrace.errors import ConfigurationError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)


def test_defaults_need_no_environment() -> None:
    loaded = settings.load()
    assert loaded.config_dir == Path("config")
    assert loaded.control_url == "sqlite:///.headrace/control.db"
    assert loaded.broker_url == "memory://"
    assert loaded.events_url is None
    assert (loaded.lease_s, loaded.sweep_every_s) == (20, 15)


@pytest.mark.parametrize(
    ("process", "port"),
    [("scheduler", 9101), ("fetch", 9102), ("merge", 9103), ("relay", 9104), ("triggers", 9105), ("up", 0)],
)
def test_each_process_has_a_metrics_port_of_its_own(process: str, port: int) -> None:
    assert settings.load().metrics_port_of(process) == port


def test_a_set_metrics_port_holds_for_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_METRICS_PORT", "0")
    assert settings.load().metrics_port_of("fetch") == 0


def test_all_wrong_variables_are_named_at_once_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_METRICS_PORT", "70000")
    monkeypatch.setenv("HEADRACE_LEASE_S", "soon")
    monkeypatch.setenv("HEADRACE_LOG_FORMAT", "xml")
    monkeypatch.setenv("HEADRACE_CONTROL_URL", "oracle://scott:tiger@db/x")
    monkeypatch.setenv("HEADRACE_BROKER_URL", "kafka://me:hunter2@broker")
    with pytest.raises(ConfigurationError) as caught:
        settings.load()
    assert {fault.file for fault in caught.value.faults} == {
        "HEADRACE_METRICS_PORT",
        "HEADRACE_LEASE_S",
        "HEADRACE_LOG_FORMAT",
        "HEADRACE_CONTROL_URL",
        "HEADRACE_BROKER_URL",
    }
    assert "tiger" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_EVENTS_URL", "")
    assert settings.load().events_url is None


def test_repr_masks_passwords_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CONTROL_URL", "postgresql://me:s3cr:e/t@db/x")
    monkeypatch.setenv("HEADRACE_BROKER_URL", "redis://:hunter2@redis:6379/0")
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", "key-one, key-two")
    loaded = settings.load()
    for shown in (repr(loaded), str(loaded)):
        assert "s3cr" not in shown
        assert "hunter2" not in shown
        assert "key-one" not in shown
        assert "postgresql://me:***@db/x" in shown
    assert [key.get_secret_value() for key in loaded.secret_keys] == ["key-one", "key-two"]


@pytest.mark.parametrize("name", ["http_origins", "allowed_hosts"])
def test_a_setting_of_several_texts_is_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", "http://one.test:8000 , https://two.test")
    assert getattr(settings.load(), name) == ("http://one.test:8000", "https://two.test")


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings.load().lease_s = 1  # type: ignore[misc]


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CONFIG_DIR", "one")
    assert settings.load(config_dir=Path("two")).config_dir == Path("two")
