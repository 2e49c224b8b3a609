"""What a person writes of a source's schedule: when it is read, and what its cursor promises."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Discriminator, Field, StrictBool, StrictInt, Tag, model_validator

from headrace.definition.values import Body, Cron, Identifier, Interval, Skew, TimeZone, fault
from headrace.domain.schedule import Duration

KEYS_RECONCILED_EVERY: Final = Duration.parse("1h")
FULLY_RECONCILED_EVERY: Final = Duration.parse("24h")


def _tag(when_object: str, otherwise: str) -> Discriminator:
    # Tags begin with "<", so that the wording of faults can leave them out of paths.
    return Discriminator(lambda v: when_object if isinstance(v, dict | Body) else otherwise)


class SkewClock(Body):
    """The application sets the cursor, within this much of the true time."""

    skew: Annotated[Skew, Field(description='How far the cursor may be off, such as "5s".')]


class DeletedColumn(Body):
    """A row with this column set is gone."""

    column: Annotated[Identifier, Field(description="The column that is set when a row is gone.")]


Clock = Annotated[
    Annotated[Literal["database", "business"], Tag("<name>")] | Annotated[SkewClock, Tag("<skew>")],
    _tag("<skew>", "<name>"),
]
Deletes = Annotated[
    Annotated[Literal["reconcile", "ignore"], Tag("<name>")] | Annotated[DeletedColumn, Tag("<column>")],
    _tag("<column>", "<name>"),
]


class Schedule(Body):
    """When and how a source is read."""

    every: Annotated[
        Interval | None,
        Field(
            description="Time between polls, at least 1s; each feed at a moment of its own, so that many"
            " are spread over it. Without it and cron only sync and triggers read."
        ),
    ] = None
    cron: Annotated[Cron | None, Field(description="When to poll, as a cron line, in UTC.")] = None
    listen: Annotated[
        Identifier | None,
        Field(
            description="A channel of the app's PostgreSQL, as `pg_notify` names it: what is notified there"
            " has the source read at once."
        ),
    ] = None
    cursor: Annotated[
        Identifier | None,
        Field(
            description="The column that says when a row changed; absent: the source is read whole each"
            " time, and what is absent is deleted."
        ),
    ] = None
    clock: Annotated[
        Clock | None,
        Field(
            description="What sets the cursor: database, at every insert and update, at or after the"
            " transaction's start; a skew, the application, within that; business, it is a date of the"
            " business; absent: undeclared."
        ),
    ] = None
    time_zone: Annotated[TimeZone, Field(description="The zone of date-times without one.")] = "UTC"
    deletes: Annotated[
        Deletes,
        Field(
            description="How deleted rows are found: by reconciliation; by a column that is set, which"
            " means gone; ignore, not at all."
        ),
    ] = "reconcile"
    reconcile: Annotated[
        Literal["keys", "full"] | None,
        Field(
            description="What a reconciliation compares; absent: full when the clock is business or"
            " undeclared. Full too, whatever is said here, while a feed of a declared clock turns out"
            " eventual."
        ),
    ] = None
    reconcile_every: Annotated[
        Interval | None,
        Field(
            description="Time between reconciliations; absent: 1h for keys, 24h for full. Give it for a"
            " big feed that cannot be exact, each of whose reconciliations is full."
        ),
    ] = None
    page_rows: Annotated[StrictInt, Field(ge=1, le=1_000_000, description="Most rows of a page.")] = 50_000
    paused: Annotated[StrictBool, Field(description="Not polled until resumed.")] = False
    freshness: Annotated[Interval | None, Field(description="The lag that status judges the source by.")] = (
        None
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.every is not None and self.cron is not None:
            raise fault("has both every and cron; keep one")
        if self.clock is not None and self.cursor is None:
            raise fault("clock says what sets the cursor, but there is no cursor; add it or remove clock")
        return self

    @property
    def clock_name(self) -> str:
        """`database`, `business`, `undeclared`, or `skew:<duration>`."""
        if isinstance(self.clock, SkewClock):
            return f"skew:{self.clock.skew}"
        return self.clock or "undeclared"

    @property
    def skew_s(self) -> float:
        """How far the cursor may be off, as declared."""
        return self.clock.skew.seconds if isinstance(self.clock, SkewClock) else 0.0

    @property
    def reconcile_full(self) -> bool:
        """A reconciliation re-reads values too, not only keys."""
        if self.reconcile is not None:
            return self.reconcile == "full"
        return self.clock_name in {"business", "undeclared"}

    @property
    def reconciled_every(self) -> Duration:
        """Time between reconciliations, the default filled in."""
        default = FULLY_RECONCILED_EVERY if self.reconcile_full else KEYS_RECONCILED_EVERY
        return default if self.reconcile_every is None else self.reconcile_every

    @property
    def deleted_column(self) -> str | None:
        return self.deletes.column if isinstance(self.deletes, DeletedColumn) else None
