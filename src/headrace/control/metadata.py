"""The metadata of the control database, and the columns and constraints that its tables are made of."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, Text

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def together(first: str, second: str, *, name: str) -> CheckConstraint:
    """Both columns are null, or none is."""
    return CheckConstraint(f"({first} IS NULL) = ({second} IS NULL)", name=name)


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    condition = sa.text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def text(name: str, *, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def count(name: str) -> Column[int]:
    return Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))


def flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=sa.false())


def single() -> tuple[Column[int], CheckConstraint]:
    """The key of a table that has one row."""
    # A constraint of the table: Alembic renders none that hangs on a column.
    return Column("single", Integer, primary_key=True), CheckConstraint("single = 1", name="single")
