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


@pytest.mark.parametrize(
    ("template", "value", "resolved"),
    [
        ("postgresql://u:${PW}@h/d", "p@ss/w:rd?#%zz ", "postgresql://u:p%40ss%2Fw%3Ard%3F%23%25zz%20@h/d"),
        ("postgresql://u:${PW}@h/d", "p%40ss", "postgresql://u:p%40ss@h/d"),
        ("mysql://${PW}@h/d", "ann@office", "mysql://ann%40office@h/d"),
        ("postgresql://h/d?password=${PW}", "a&b=c+d", "postgresql://h/d?password=a%26b%3Dc%2Bd"),
        ("postgresql://h/d?password=${PW}", "a b", "postgresql://h/d?password=a%20b"),
        ("postgresql://u@${PW}/d", "[::1]:5432", "postgresql://u@[::1]:5432/d"),
        ("sqlite:///${PW}/a.db", "some where/100%", "sqlite:///some where/100%/a.db"),
        ("${PW}", "postgresql://u:p%40@h/d", "postgresql://u:p%40@h/d"),
    ],
)
def test_a_password_may_have_any_character(template: str, value: str, resolved: str) -> None:
    assert resolve(template, {"PW": value}) == resolved


@pytest.mark.parametrize("url", ["postgresql://u:a@b@h/d", "postgresql://u:a/b@h/d", "mysql://u:a#b@h/d"])
def test_a_url_that_would_be_read_as_another_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encode") as raised:
        resolve("${URL}", {"URL": url})
    assert "u:a" not in str(raised.value)


@pytest.mark.parametrize(
    "template",
    ["postgresql://u:hunter2@h/d", "mysql://u:x${PW}@h", "postgresql://h/d?user=u&password=hunter2"],
)
def test_a_password_that_is_written_out_is_a_fault(template: str) -> None:
    (fault,) = secret_faults(template, {"PW": "x"})
    assert "holds a password" in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize("template", ["postgresql://u@h/d", "mysql://root:@h", "sqlite:///u:p@x", "${URL}"])
def test_a_url_without_a_password_is_none(template: str) -> None:
    assert secret_faults(template, {"URL": "postgresql://u:p@h/d"}) == []


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
