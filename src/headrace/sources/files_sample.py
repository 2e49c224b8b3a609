"""The first rows of a CSV file, for `discover`: of its first bytes alone, so that nothing reads ahead."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.domain.arrow import Table, pa
from headrace.sources.files_csv import delimiter_of, header_of, opened
from headrace.sources.files_path import SourceFile

_SAMPLE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows at a file's beginning as texts, an empty one null; `rows` it has in all, about."""

    head: Table
    rows: int | None


def sampled(app_id: str, file: SourceFile) -> Sample:
    """Lines that are no rows are left out. Raises what `header_of` does."""
    names = header_of(app_id, file)
    with opened(file) as stream:
        begun = stream.read(_SAMPLE_BYTES + 1)
    is_whole = len(begun) <= _SAMPLE_BYTES
    lines = list(_lines(begun.decode("utf-8-sig", "replace"), delimiter_of(file)))[1:]
    if not is_whole:
        del lines[-1:]  # it may be cut
    head = _table(names, [line for line in lines if len(line) == len(names)])
    if is_whole:
        return Sample(head, head.num_rows)
    size = file.path.stat().st_size
    return Sample(head, None if file.compression else len(lines) * size // len(begun))


def _lines(text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        yield from (line for line in reader if line)
    except csv.Error:  # a quote that is never closed, or a field of more than 128 kB
        return


def _table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    columns = list(zip(*lines, strict=True)) if lines else [()] * len(names)
    arrays = [pa.array([text or None for text in column], pa.string()) for column in columns]
    return pa.table(dict(zip(names, arrays, strict=True)))
