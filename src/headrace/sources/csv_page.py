"""Turns COPY's CSV into an Arrow table of texts, null apart from ''."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import csv


def parse_copied(data: bytes, columns: Sequence[str]) -> pa.Table:
    """One utf8 column per name. Bytes that are no UTF-8 (a SQL_ASCII database) are shown as `\\xNN`."""
    try:
        return _parse(data, columns)
    except pa.ArrowInvalid:
        shown = data.decode("utf-8", "backslashreplace").encode()
        if shown == data:
            raise
        return _parse(shown, columns)


def _parse(data: bytes, columns: Sequence[str]) -> pa.Table:
    # One block: pyarrow cannot cut a row in two. An empty line is the null of a single column.
    return csv.read_csv(
        pa.BufferReader(data),  # type: ignore[arg-type]  # the stubs do not know it
        read_options=csv.ReadOptions(column_names=list(columns), block_size=len(data) + 1),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=False,
        ),
    )
