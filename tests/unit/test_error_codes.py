"""Every code that a user may see has a page, and every page a code."""

from __future__ import annotations

import inspect
import re

import pytest

from headrace import errors
from headrace.cli import error_page
from headrace.domain.events import RejectCode
from headrace.domain.finding import FindingCode
from headrace.domain.refusal import Refusal
from headrace.errors import (
    ConfigurationError,
    ErrorCode,
    Fault,
    HeadraceError,
    InvariantError,
    SourceDriftError,
    code_apart,
    with_code,
)

CODES = {str(code) for kind in (ErrorCode, FindingCode, RejectCode, Refusal) for code in kind}


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert set(error_page.codes()) == CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_page_says_what_why_and_what_to_do(code: str) -> None:
    page = error_page.page(code)
    assert page.code == code
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    for text in (page.what, page.why, page.remedy):
        assert text[0].isupper() or text[0] == "`"
        assert text.rstrip().endswith(".")


def test_findings_share_no_code_with_errors_that_mean_something_else() -> None:
    assert not {c.value for c in FindingCode} & {c.value for c in ErrorCode}


def test_every_class_of_errors_has_a_code() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, HeadraceError)]
    assert len(classes) > 10
    for each in classes:
        if each is not errors.RefusedError:  # each refusal brings its own
            assert each.code in set(ErrorCode)


def test_a_code_is_kept_behind_its_message_and_found_again() -> None:
    error = SourceDriftError("shop: no table [x]", code=ErrorCode.TABLE_MISSING)
    assert with_code(error) == "shop: no table [x] [table_missing]"
    assert code_apart(with_code(error)) == ("shop: no table [x]", "table_missing")
    assert code_apart("plain") == ("plain", None)
    assert with_code(InvariantError("impossible")).endswith("[internal_error]")


def test_each_fault_has_the_code_of_its_kind_unless_it_has_one_of_its_own() -> None:
    error = ConfigurationError(
        Fault("config/apps/a.json", "url", "is missing"),
        Fault("HEADRACE_THREADS", "", "is too small"),
        Fault("config/sources/s.json", "key[0]", "no column", ErrorCode.COLUMN_MISSING),
        "no such thing",
    )
    assert [line.rpartition(" ")[2] for line in error.lines] == [
        "[definition_invalid]",
        "[setting_invalid]",
        "[column_missing]",
        "[configuration_invalid]",
    ]
    assert ConfigurationError("x", code=ErrorCode.NAME_UNKNOWN).code == ErrorCode.NAME_UNKNOWN
