"""Booleans and texts: columns that are looked up or checked, whole, by Arrow's own functions."""

from __future__ import annotations

import struct
from typing import Final

from headrace.domain.arrow import BooleanArray, StringArray, pa, pc
from headrace.domain.vocabulary import PropertyType

_TRUE: Final = ("t", "true", "1", "yes", "on", "y")
_FALSE: Final = ("f", "false", "0", "no", "off", "n")
_SPELLINGS: Final = pa.array([*_TRUE, *_FALSE], pa.string())
_MEANINGS: Final = pa.array([True] * len(_TRUE) + [False] * len(_FALSE))

_VISIBLE = r"[^\x00-\x20\x7f]"
_PHONE = r"[0-9A-Za-z +().,:;/*#=~\-]"
_CHECKS: Final[dict[PropertyType, str]] = {
    # One @ between two parts without spaces: what RFC 5322 allows beyond that is not in use.
    PropertyType.EMAIL: r"\A[^\x00-\x20\x7f@]+@[^\x00-\x20\x7f@]+\z",
    # At least three digits among what people write around them, extensions and vanity letters too.
    PropertyType.PHONE: rf"\A{_PHONE}*(?:[0-9]{_PHONE}*){{3}}\z",
    # A scheme and something after it, or a host with a dot or port, with or without `//` before it.
    PropertyType.URL: (
        rf"\A(?:[A-Za-z][A-Za-z0-9+.\-]*:{_VISIBLE}+|"
        r"(?://)?[^\x00-\x20\x7f/?#@:.][^\x00-\x20\x7f/?#@:]*\.[^\x00-\x20\x7f/?#@:]+(?::[0-9]+)?"
        rf"(?:[/?#]{_VISIBLE}*)?)\z"
    ),
}

REASONS: Final[dict[PropertyType, str]] = {
    PropertyType.STRING: "has a NUL character",
    PropertyType.EMAIL: "is not an email address",
    PropertyType.PHONE: "is not a phone number",
    PropertyType.URL: "is not a URL",
}


def boolean_values(column: StringArray) -> BooleanArray:
    """Any usual spelling of true and false, in any case; null for other texts."""
    found = pc.index_in(column, _SPELLINGS)
    if found.null_count > column.null_count:
        found = pc.index_in(pc.utf8_lower(pc.utf8_trim_whitespace(column)), _SPELLINGS)
    return _MEANINGS.take(found)


def checked_texts(column: StringArray, kind: PropertyType) -> StringArray:
    """The texts as given; null where one does not pass the check of its type.

    The checks are lenient, since a wrong one would lose a value that people use: a text that fails is
    surely not an email address, phone number or URL.
    """
    if kind is PropertyType.STRING:
        if b"\0" not in _bytes_of(column):
            return column
        fits = pc.invert(pc.match_substring(column, "\0"))
    else:
        fits = pc.match_substring_regex(column, _CHECKS[kind])
    if pc.all(fits).as_py() is not False:
        return column
    return pc.if_else(fits, column, pa.scalar(None, pa.string()))


def _bytes_of(column: StringArray) -> bytes:
    """All texts of the column on end (what lies beneath nulls included): a search in it costs a
    nanosecond a cell where Arrow's own cost fifty."""
    if not len(column):
        return b""
    _, offsets, data = column.buffers()
    (start,) = struct.unpack_from("=i", offsets, 4 * column.offset)
    (end,) = struct.unpack_from("=i", offsets, 4 * (column.offset + len(column)))
    texts: bytes = data.slice(start, end - start).to_pybytes()
    return texts
