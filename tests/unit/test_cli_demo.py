"""Where a demo is made: never over what is somebody's."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from headrace.cli.demo import MARK, free_place
from headrace.errors import ConfigurationError


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The directory of an earlier demo."""
    place = tmp_path / "demo-headrace"
    (place / MARK).parent.mkdir(parents=True)
    (place / MARK).touch()
    return place


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def test_a_second_demo_does_not_touch_the_first(earlier: Path) -> None:
    assert free_place(earlier, force=False) == earlier.with_name("demo-headrace-2")
    assert (earlier / MARK).exists()
    earlier.with_name("demo-headrace-2").mkdir()
    assert free_place(earlier, force=False) == earlier.with_name("demo-headrace-3")


def test_an_earlier_demo_is_replaced_when_forced(earlier: Path) -> None:
    assert free_place(earlier, force=True) == earlier
    assert not earlier.exists()


def test_what_is_no_demo_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").touch()
    with pytest.raises(ConfigurationError, match="no earlier demo and not empty"):
        free_place(tmp_path, force=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="no earlier demo"):
        free_place(tmp_path / "file", force=True)
    assert (tmp_path / "precious.txt").exists()


def test_an_empty_directory_is_used(tmp_path: Path) -> None:
    assert free_place(tmp_path, force=False) == tmp_path
