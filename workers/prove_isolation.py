"""The marker check on the installation's own data sources: customers find their own records, and no others.

Made-up customers get records with the same keys and different markers in every active data source, in a
model of its own (`domain.probe`): no table of a defined model is written to, no event is sent, no feed is
touched. Then all that reads records is asked for each of them in turn, twice; and in the defined models'
tables, where they have none, for every model. What was made is removed in the end, and what an interrupted
run has left, before.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import pyarrow as pa

from headrace import logs
from headrace.control.customers import NewCustomer
from headrace.control.data_source_view import DataSourceView
from headrace.control.probes import probe_customers, settle_probe, unsettle_probes
from headrace.domain.assignment import Asked
from headrace.domain.probe import CUSTOMER_PREFIX, KEYS, MODEL, NOTES, RECORDS
from headrace.domain.record_query import RecordQuery
from headrace.domain.refusal import Refusal
from headrace.domain.routing import State
from headrace.domain.shape import FilterClause, ModelShape, SourceShape
from headrace.domain.vocabulary import (
    ARROW_TYPES,
    CUSTOMER,
    DELETED,
    INVALID,
    AppId,
    DataSourceId,
    FeedId,
    FilterOp,
    ModelId,
)
from headrace.errors import (
    HeadraceError,
    RefusedError,
    StoreUnavailableError,
    with_code,
)
from headrace.ports import FeedScope, Newcomer
from headrace.steps.records import Reading
from headrace.wiring import Application
from workers.isolation_http import EmbedReader

log = logs.get(__name__)

ACTOR = "doctor --prove-isolation"
ROUNDS = 2
"""The second one meets what the first has left in caches and pools."""
OTHERS = 5
"""Whose markers each customer looks for."""
_PAGE = 1000
_MARKER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Probe:
    """A made-up customer, and what it alone may find.

    Attributes:
        lives_in: where its records were written; what routing shall find by itself.
        routed: it is a customer; else only its records are there, which nobody may find.
    """

    visibility_group: str
    provided_id: str
    schema: str
    lives_in: DataSourceId
    marker: str
    routed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSourceProof:
    """What was done in one data source.

    Attributes:
        probes: customers whose records were there.
        answers: how many answers for them were searched.
        left_out: why nothing was done; None where it was.
        cleaned_up: nothing of it is left.
    """

    data_source_id: DataSourceId
    probes: int = 0
    answers: int = 0
    left_out: str | None = None
    cleaned_up: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """
    Attributes:
        leaks: each answer that held what it may not, or lacked what it must; without what it held.
        leftovers: customers of an interrupted run that were removed first.
        over_http: the customers' API was asked too; without HEADRACE_SECRET_KEYS it gives out no tokens.
    """

    data_sources: tuple[DataSourceProof, ...]
    leaks: tuple[str, ...]
    leftovers: int
    over_http: bool

    @property
    def holds(self) -> bool:
        return not self.leaks and all(d.cleaned_up for d in self.data_sources)


def prove_isolation(
    app: Application, *, new_marker: Callable[[], str] = lambda: secrets.token_hex(16)
) -> Proof:
    """Whether each customer finds its own records and nobody else's, in every active data source.

    Raises:
        ConfigurationError: nothing is applied yet.
    """
    embed = EmbedReader(app) if app.vault.has_keys else None
    return _Run(app, new_marker, embed=embed).run()


@dataclass(slots=True)
class _Run:
    app: Application
    new_marker: Callable[[], str]
    probes: list[Probe] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    done: dict[DataSourceId, DataSourceProof] = field(default_factory=dict)
    embed: EmbedReader | None = None
    owners: dict[str, Probe] = field(default_factory=dict)
    """By marker."""
    touched: set[DataSourceId] = field(default_factory=set)

    def run(self) -> Proof:
        found = list(self._data_sources())
        leftovers = self._clean_up([d.id for d in found if d.state is not State.DISABLED])
        try:
            for data_source in found:
                self.done[data_source.id] = self._begun(data_source)
            self._add_defaults(found)
            self._read_all()
        finally:
            self._clean_up(sorted(self.touched))
        return Proof(
            data_sources=tuple(self.done.values()),
            leaks=tuple(self.leaks),
            leftovers=leftovers,
            over_http=self.embed is not None,
        )

    def _data_sources(self) -> Iterator[DataSourceView]:
        after = None
        while True:
            page = self.app.data_sources.list(limit=_PAGE, after=after)
            yield from page.items
            if (after := page.next) is None:
                return

    # --- writing --------------------------------------------------------------------------------

    def _begun(self, data_source: DataSourceView) -> DataSourceProof:
        """Customers are bound to it, and their records are in it."""
        proof = DataSourceProof(data_source_id=data_source.id)
        if data_source.state is not State.ACTIVE:
            return replace(proof, left_out=f"it is {data_source.state}")
        try:
            self.touched.add(data_source.id)
            self.app.stores.open(data_source.id).prepare([MODEL])
            for group in data_source.visibility_groups:
                self._bind(data_source, group)
        except RefusedError as error:
            return replace(proof, left_out=error.detail)
        except HeadraceError as error:
            return replace(proof, left_out=with_code(error))
        return proof

    def _bind(self, data_source: DataSourceView, group: str) -> None:
        """Two customers of their own, where more than one may be, and one that inherits from the first."""
        asked = Asked(data_source_id=data_source.id)
        try:
            first = self._make(group, data_source, "own", asked=asked)
        except RefusedError as error:
            if error.code != Refusal.DATA_SOURCE_DEDICATED:
                raise
            # It serves somebody already, and nobody else may be bound to it.
            self._keep(replace(self._new(group, data_source, "nobody"), routed=False))
            return
        if data_source.isolation == "shared":
            self._make(group, data_source, "other", asked=asked)
            self._make(group, data_source, "child", parent=f"provided:{first.provided_id}")

    def _add_defaults(self, found: Sequence[DataSourceView]) -> None:
        """A customer without a binding for each default; then all are counted."""
        for data_source in found:
            if self.done[data_source.id].left_out is None:
                for group in data_source.default_for:
                    self._make(group, data_source, "default")
        for probe in self.probes:
            proof = self.done[probe.lives_in]
            self.done[probe.lives_in] = replace(proof, probes=proof.probes + 1)

    def _make(
        self,
        group: str,
        data_source: DataSourceView,
        kind: str,
        *,
        asked: Asked | None = None,
        parent: str | None = None,
    ) -> Probe:
        probe = self._new(group, data_source, kind)
        new = NewCustomer(provided_id=probe.provided_id, parent=parent, asked=asked or Asked())
        view, _ = self.app.customers.create(group, new, actor=ACTOR)
        settle_probe(
            self.app.engine,
            Newcomer(
                customer_id=view.id,
                schema=probe.schema,
                data_source_id=probe.lives_in,
                pinned=asked is None and parent is None,
            ),
        )
        self._keep(probe)
        return probe

    def _new(self, group: str, data_source: DataSourceView, kind: str) -> Probe:
        name = f"{CUSTOMER_PREFIX}{data_source.id}_{group}_{kind}"
        return Probe(group, name, data_source.schema, data_source.id, self.new_marker())

    def _keep(self, probe: Probe) -> None:
        self._write(probe)
        self.probes.append(probe)
        self.owners[probe.marker] = probe

    def _write(self, probe: Probe) -> None:
        """Through the store's own merge."""
        with self.app.stores.open(probe.lives_in).merging(MODEL) as transaction:
            if transaction is None:
                raise StoreUnavailableError("another headrace doctor --prove-isolation is at work there")
            for source, rows in (
                (RECORDS, [(int(key), f"{probe.marker}-{key}") for key in KEYS]),
                (NOTES, [(f"{probe.marker}-note-{key}", int(key)) for key in KEYS]),
            ):
                scope = FeedScope(
                    feed_id=FeedId(f"{source.id}-{probe.provided_id}"),
                    app_id=AppId("_headrace_probe"),
                    source=source,
                    customer=probe.provided_id,
                )
                transaction.apply_rows(scope, _batch(source, rows, probe.provided_id))
            transaction.recompute()

    # --- reading --------------------------------------------------------------------------------

    def _read_all(self) -> None:
        models = {schema: list(self._models_of(schema)) for schema in {p.schema for p in self.probes}}
        for _ in range(ROUNDS):
            # One after the other on the same pools and caches.
            for probe in self.probes:
                self._read(probe, models[probe.schema])

    def _models_of(self, schema: str) -> Iterator[ModelShape]:
        catalogue = self.app.catalogue()
        for (kind, id_), body in catalogue.bodies.items():
            model = catalogue.models.get(ModelId(id_))
            if kind == "models" and body["schema"] == schema and model is not None:
                yield model

    def _read(self, probe: Probe, models: Sequence[ModelShape]) -> None:
        own = Reading(probe.visibility_group, probe.provided_id, probe.schema, MODEL)
        wanted = {f"{probe.marker}-{key}" for key in KEYS}
        if not probe.routed:
            self._search(probe, "records", partial(self._stored, probe, MODEL), wanted)
            return
        self._search(probe, "list", partial(self._page, own, RecordQuery()), wanted)
        for key in KEYS:
            markers = {f"{probe.marker}-{key}", f"{probe.marker}-note-{key}"}
            self._search(probe, "get", partial(self._one, own, key), markers)
        for other in self._others(probe):
            query = RecordQuery(filters=(_is(f"{other.marker}-{KEYS[0]}"),))
            self._search(probe, "filter", partial(self._page, own, query), set())
        self._search(probe, "records", partial(self._stored, probe, MODEL), wanted)
        for model in models:
            # It has no record of these: whatever is found is somebody else's.
            reading = replace(own, model=model)
            self._search_empty(probe, model, partial(self._page, reading, RecordQuery()))
            self._search_empty(probe, model, partial(self._stored, probe, model))
            if self.embed is not None:
                asked = partial(self.embed.records, probe.visibility_group, probe.provided_id, model.id)
                self._search_empty(probe, model, asked)

    def _others(self, probe: Probe) -> Iterator[Probe]:
        """Some of the same schema: those that were made next, round the end."""
        at = self.probes.index(probe)
        others = (p for p in (*self.probes[at + 1 :], *self.probes[:at]) if p.schema == probe.schema)
        return islice(others, OTHERS)

    def _page(self, reading: Reading, query: RecordQuery) -> Sequence[str]:
        return self.app.records.page(reading, query)[1].items

    def _one(self, reading: Reading, key: str) -> Sequence[str]:
        record = self.app.records.one(reading, (key,))[1]
        return [] if record is None else [record]

    def _stored(self, probe: Probe, model: ModelShape) -> list[str]:
        """As `headrace records` reads."""
        table = self.app.stores.open(probe.lives_in).records(
            model, customer=probe.provided_id, key=None, limit=_PAGE
        )
        return [json.dumps(row, default=str) for row in table.to_pylist()]

    def _search(self, probe: Probe, path: str, read: Callable[[], Sequence[str]], wanted: set[str]) -> None:
        text = self._answer(probe, path, read)
        if text is None:
            return
        found = {self.owners[marker] for marker in _MARKER.findall(text) if marker in self.owners}
        for owner in sorted(p.provided_id for p in found if p != probe):
            self.leaks.append(f"{path}: customer {probe.provided_id} finds what is {owner}'s")
        if not all(marker in text for marker in wanted):
            self.leaks.append(f"{path}: customer {probe.provided_id} does not find all that is its own")

    def _search_empty(self, probe: Probe, model: ModelShape, read: Callable[[], Sequence[str]]) -> None:
        if self._answer(probe, f"model {model.id}", read):
            self.leaks.append(
                f"model {model.id}: customer {probe.provided_id}, who has no record, finds somebody's"
            )

    def _answer(self, probe: Probe, path: str, read: Callable[[], Sequence[str]]) -> str | None:
        """What was answered, as one text; None when nothing was."""
        try:
            text = "\n".join(read())
        except HeadraceError as error:
            text = None
            self.leaks.append(f"{path}: no answer for customer {probe.provided_id}: {error}")
        proof = self.done[probe.lives_in]
        self.done[probe.lives_in] = replace(proof, answers=proof.answers + 1)
        return text

    # --- cleaning up ----------------------------------------------------------------------------

    def _clean_up(self, touched: Sequence[DataSourceId]) -> int:
        """Nothing is left, of this run or of one before; gives the customers that were removed."""
        unsettle_probes(self.app.engine)
        left = probe_customers(self.app.engine)
        for customer in left:
            self.app.customers.delete(customer.visibility_group, customer.id, actor=ACTOR)
        for data_source_id in touched:
            try:
                self.app.stores.open(data_source_id).remove(MODEL)
            except HeadraceError as error:
                log.warning("probe not removed", data_source=data_source_id, error=str(error))
                proof = self.done.get(data_source_id)
                if proof is not None and proof.left_out is None:
                    self.done[data_source_id] = replace(proof, cleaned_up=False)
        return len(left)


def _is(marker: str) -> FilterClause:
    return FilterClause(column="marker", op=FilterOp.EQ, values=(marker,))


def _batch(source: SourceShape, rows: Sequence[tuple[object, ...]], customer: str) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    arrays = [
        pa.array(values, ARROW_TYPES[column.type])
        for column, values in zip(source.columns, columns, strict=True)
    ]
    arrays += [
        pa.array([customer] * len(rows), pa.string()),
        pa.array([False] * len(rows), pa.bool_()),
        pa.nulls(len(rows), pa.string()),
    ]
    return pa.Table.from_arrays(arrays, names=[*(c.name for c in source.columns), CUSTOMER, DELETED, INVALID])
