"""Secrets are resolved late and shown never."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.definition.models import App
from headrace.definition.secrets import SecretText, resolve, secret_faults
from headrace.errors import ConfigurationError


def test_references_are_replaced_wherever_they_stand(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    template = f"postgresql://${{USER_NAME}}:${{file:{secret}}}@h/${{USER_NAME}}"
    assert resolve(template, {"USER_NAME": "ann"}) == "postgresql://ann:s3cret@h/ann"


def test_a_value_is_not_searched_for_references_again() -> None:
    assert resolve("${A}", {"A": "${B}", "B": "x"}) == "${B}"


def test_what_leads_nowhere_is_named_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    template = f"${{A}}${{B}}${{file:{tmp_path}/none}}${{file:{tmp_path}/empty}}${{file:{tmp_path}/binary}}"
    with pytest.raises(ConfigurationError) as raised:
        resolve(template, {"B": ""})
    assert str(raised.value).replace(str(tmp_path), "") == (
        "the environment variable A is not set; set it, or name another one\n"
        "the environment variable B is empty; give it a value\n"
        "the secret file /none cannot be read: No such file or directory\n"
        "the secret file /empty is empty\n"
        "the secret file /binary cannot be read: it is not UTF-8 text"
    )


@pytest.mark.parametrize("template", ["${}", "${A B}", "${1A}", "${A", "x${"])
def test_what_is_no_reference_is_a_fault(template: str) -> None:
    assert secret_faults(template, {"A": "x"})


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("${SHOP_URL}", "${SHOP_URL}"),
        ("postgresql://ann:hunter2@h/d", "postgresql://***"),
        ("postgresql://ann:${PASSWORD}@h/d?password=hunter2", "postgresql://***"),
        ("hunter2", "***"),
        ("${A}${B}hunter2", "***"),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
    ],
)
def test_a_secret_text_shows_no_more_than_its_kind(template: str, shown: str) -> None:
    text = SecretText(template)
    assert (str(text), f"{text}") == (shown, shown)
    assert repr(text) == f"SecretText({shown!r})"
    app = App.model_validate({"name": "A", "type": "postgres", "url": template})
    assert shown in repr(app)
    assert "hunter2" not in repr(app)


@given(st.text())
def test_a_text_without_references_is_itself(text: str) -> None:
    if "${" not in text:
        assert resolve(text, {}) == text
        assert secret_faults(text, {}) == []


@given(st.text(), st.text(min_size=1))
def test_secret_texts_are_equal_by_what_was_written(one: str, other: str) -> None:
    assert (SecretText(one) == SecretText(other)) is (one == other)
    assert SecretText(one) == SecretText(one)
    assert hash(SecretText(one)) == hash(SecretText(one))
    assert SecretText(one) != one
