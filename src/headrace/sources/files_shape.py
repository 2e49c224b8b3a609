"""The columns of files: what their headers and schemas say, all files of a relation together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.domain.arrow import DataType
from headrace.domain.vocabulary import PropertyType
from headrace.errors import SourceDriftError
from headrace.ports import ColumnFacts, ReadPlan, TableFacts
from headrace.sources.drift import nearest
from headrace.sources.files_csv import header_of
from headrace.sources.files_error import translated
from headrace.sources.files_parquet import is_signed, keeps_order, property_type, schema_of
from headrace.sources.files_path import Format, SourceFile
from headrace.sources.fingerprint import fingerprint

TEXT = "text"
"""The native type of every column of a CSV file."""
_SHOWN_COLUMNS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The columns of a relation.

    Attributes:
        numeric: those that hold whole numbers of 64 bits and nothing else, in every file.
        by_file: the names that each file has, by the file's.
    """

    facts: TableFacts
    numeric: frozenset[str]
    by_file: dict[str, tuple[str, ...]]

    def require(self, app_id: str, plan: ReadPlan) -> None:
        """Every file has every column that the plan reads, or SourceDriftError says what there is."""
        wanted = dict.fromkeys((*plan.columns, *plan.key, *((plan.cursor,) if plan.cursor else ())))
        for file, names in self.by_file.items():
            missing = [name for name in wanted if name not in names]
            if missing:
                faults = ", ".join(f'"{name}" does not exist{nearest(name, names)}' for name in missing)
                there = ", ".join(f'"{name}"' for name in names[:_SHOWN_COLUMNS])
                raise SourceDriftError(f'{app_id}: in "{file}" column {faults}; there are {there}')


def shape_of(app_id: str, files: Sequence[SourceFile]) -> Shape:
    """The union of the files' columns, in order of first appearance."""
    found: dict[str, list[DataType | None]] = {}
    by_file = {}
    for file in files:
        with translated(app_id, file.name):
            types = _types_of(app_id, file)
        by_file[file.name] = tuple(types)
        for name, kind in types.items():
            found.setdefault(name, []).append(kind)
    columns = tuple(_facts(name, kinds) for name, kinds in found.items())
    return Shape(
        facts=TableFacts(columns=columns, primary_key=(), fingerprint=fingerprint(columns)),
        numeric=frozenset(
            n for n, kinds in found.items() if all(k is not None and is_signed(k) for k in kinds)
        ),
        by_file=by_file,
    )


def _types_of(app_id: str, file: SourceFile) -> dict[str, DataType | None]:
    """The Arrow type of each column that has a name; None in CSV."""
    if file.format is Format.PARQUET:
        return {field.name: field.type for field in schema_of(file)}
    return {name: None for name in header_of(app_id, file) if name}


def _facts(name: str, kinds: Sequence[DataType | None]) -> ColumnFacts:
    natives = dict.fromkeys(TEXT if kind is None else str(kind) for kind in kinds)
    types = {PropertyType.STRING if kind is None else property_type(kind) for kind in kinds}
    ordered = all(kind is None or keeps_order(kind) for kind in kinds)
    same = len(natives) == 1 or all(kind is not None and is_signed(kind) for kind in kinds)
    return ColumnFacts(
        name=name,
        native_type=" or ".join(natives),
        type=types.pop() if len(types) == 1 else PropertyType.STRING,
        nullable=True,
        portable_order=same and ordered,
    )
