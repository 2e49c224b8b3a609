"""The applied definitions, as the steps see them, and how they are applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from headrace.domain.shape import ModelShape, SourceShape
from headrace.domain.vocabulary import AppId, ModelId, SourceId
from headrace.ports.reading import ColumnFacts, ReadPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPlan:
    """What a fetch worker knows of a feed besides its state: compiled from the applied definitions.

    Attributes:
        customer: the fixed customer (`provided_id`), or None with `customer_column` set.
        shape_fingerprint: `shape_fingerprint(source)`: travels with every batch.
        deleted_column: set means gone; None when deletes are found by reconciliation.
        chunkable: the key's order is the same at source and store.
        indexed: columns of the shape that a store has an index on beside the key: the mapping's, and
            those that other sources are mapped to.
        expected: the source's columns that the feed uses, as they were when the definitions were applied;
            empty when the source could not be asked.
        key_is_unique: the source itself saw to it then that no two rows have the same key.
    """

    source: SourceShape
    shape_fingerprint: str
    app_id: AppId
    read: ReadPlan
    visibility_group: str
    schema: str
    customer: str | None
    customer_column: str | None
    create_unknown_customers: bool
    clock: str
    deletes: str
    deleted_column: str | None
    reconcile_full: bool
    chunkable: bool
    indexed: tuple[str, ...] = ()
    expected: tuple[ColumnFacts, ...] = ()
    key_is_unique: bool = False


class Catalogue(Protocol):
    """The applied definitions at one version, compiled."""

    @property
    def version(self) -> int: ...

    @property
    def plans(self) -> Mapping[tuple[SourceId, AppId], FeedPlan]: ...

    def feed(self, source_id: SourceId, app_id: AppId) -> FeedPlan: ...

    def model(self, model_id: ModelId) -> ModelShape: ...

    def models_of(self, schema: str) -> Sequence[ModelId]: ...

    def contract(self, model_id: ModelId) -> Mapping[SourceId, str]:
        """The fingerprint of each source of the model, as a store has them that was made for it."""
        ...


class Definitions(Protocol):
    """Gives the applied definitions."""

    def __call__(self, *, at_least: int = 0) -> Catalogue:
        """What was applied a moment ago or later; no older than version `at_least`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedFeed:
    """One feed as the definitions want it.

    Attributes:
        fingerprint: of the source's columns that the feed uses.
        shape_fingerprint: of the source's shape: copied to every batch that is journalled.
        every_s, cron: at most one is set; neither: the feed is polled only when asked.
        reconcile: what a reconciliation that falls due reads.
        reconcile_every_s: None: only when asked.
        reread: what was read is void: the feed begins anew, and so do its logs.
    """

    source_id: SourceId
    app_id: AppId
    model_id: ModelId
    fingerprint: str
    shape_fingerprint: str
    every_s: float | None = None
    cron: str | None = None
    reconcile: Literal["keys", "full"] = "keys"
    reconcile_every_s: float | None = None
    paused: bool = False
    reread: bool = False


class Residents(StrEnum):
    """What becomes of customers who have records elsewhere than new definitions lead them."""

    REFUSE = "refuse"
    """Nothing is applied."""
    MOVE = "move"
    """They are moved there, with what they have."""
    SWITCH = "switch"
    """They go on there, and what they have stays behind."""


class Registry(Protocol):
    """The applied definitions, in the control database."""

    def compiled(self) -> str | None:
        """The text that `publish` was given last, None before the first time."""
        ...

    def bodies(self) -> Mapping[tuple[str, str], Any]:
        """The definitions that `publish` was given last, by kind and id; empty before the first time."""
        ...

    def publish(
        self,
        bodies: Mapping[tuple[str, str], Any],
        compiled: str,
        feeds: Sequence[AppliedFeed],
        *,
        residents: Residents = Residents.REFUSE,
    ) -> int:
        """Make these the applied definitions, in one transaction; the version they have now.

        Feeds that are read again get a new epoch and new logs, feeds that are no more are ended, all
        others keep everything. `bodies` are the definitions as written, by kind and id.

        Raises:
            ConfigurationError: routing would lead a customer away from its records, though `residents` does
                not say what becomes of them, or though it is no binding of its own that does.
        """
        ...
