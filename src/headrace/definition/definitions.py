"""The definitions of one directory, whole and consistent: what `load` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.definition.models import App, Customer, DataSource, Model, Schema, VisibilityGroup
from headrace.definition.source import CustomerColumn, CustomerValue, PrimarySource, Source
from headrace.definition.webhook import Webhook
from headrace.domain.vocabulary import AppId, DataSourceId, ModelId, SourceId

DEFAULT_CUSTOMER = "default"
"""The customer of rows for which nothing says another; made on first use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """Everything that a config directory defines, by kind and id.

    Invariant: every reference leads somewhere; what may be implied (visibility groups, provided ids)
    is filled in; secrets are unresolved.

    Attributes:
        directory: where they were read from, as a person would type it.
        bodies: the objects as they were written, by kind and id, with what is implied filled in and
            without `$schema`: plain JSON, from which `from_bodies` makes the same definitions.
    """

    directory: str
    apps: Mapping[AppId, App]
    schemas: Mapping[str, Schema]
    visibility_groups: Mapping[str, VisibilityGroup]
    data_sources: Mapping[DataSourceId, DataSource]
    customers: Mapping[str, Customer]
    models: Mapping[ModelId, Model]
    sources: Mapping[SourceId, Source]
    webhooks: Mapping[str, Webhook]
    bodies: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def file(self, kind: str, id_: str) -> str:
        """The file of a definition, as faults name it."""
        return f"{self.directory}/{kind}/{id_}.json"

    def sources_of(self, model: ModelId) -> Iterator[tuple[SourceId, Source]]:
        """The sources of a model, in order of id."""
        return ((i, s) for i, s in sorted(self.sources.items()) if s.model == model)

    def primary_of(self, model: ModelId) -> SourceId:
        return next(i for i, s in self.sources_of(model) if isinstance(s, PrimarySource))

    def feeds(self) -> Iterator[tuple[SourceId, AppId]]:
        """Every feed: a source with one of its apps, in order of source and as the apps are named."""
        return ((i, app) for i, source in sorted(self.sources.items()) for app in source.app_ids)

    def customer_of(self, source_id: SourceId, app_id: AppId) -> str | None:
        """The `provided_id` of the customer of all rows of a feed; None when a column names it."""
        rule = self.sources[source_id].customer
        if isinstance(rule, CustomerColumn):
            return None
        named = rule.value if isinstance(rule, CustomerValue) else self.apps[app_id].customer
        return self.provided_id(named or DEFAULT_CUSTOMER)

    def provided_id(self, customer: str) -> str:
        """The `provided_id` of a customer by its id; one without a file is its own."""
        return self.customers[customer].provided_id if customer in self.customers else customer
