"""A directory of files that tests write and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from headrace.ports import KeyRange, Page, ReadPlan, Relation, Selection
from headrace.sources.files import FilesReader

WHOLE = KeyRange(None, None, None)


@contextmanager
def reader_of(directory: Path) -> Iterator[FilesReader]:
    with closing(FilesReader("shop", directory.as_uri())) as reader:
        yield reader


def plan_of(
    table: str, columns: Sequence[str] = ("id", "name"), cursor: str | None = None, **more: Any
) -> ReadPlan:
    return ReadPlan(
        relation=Relation(table), columns=tuple(columns), key=(columns[0],), cursor=cursor, **more
    )


def pages(reader: FilesReader, plan: ReadPlan, selection: Selection = WHOLE) -> list[Page]:
    with reader.read(plan, selection) as stream:
        return list(stream)


def rows(reader: FilesReader, plan: ReadPlan, selection: Selection = WHOLE) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for page in pages(reader, plan, selection) for row in page.rows.to_pylist()]
