"""The composition root: who is made of what. Everything else is handed what it needs."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from headrace import logs
from headrace.control.data_sources import SqlDataSources
from headrace.control.definitions import SqlDefinitions
from headrace.control.drift import SqlDrift
from headrace.control.engine import control_engine
from headrace.control.feeds import SqlFeeds
from headrace.control.journal import SqlJournal
from headrace.control.moves import SqlMoves
from headrace.control.registered import RegisteredBodies
from headrace.control.remembered import Remembered
from headrace.control.routes import SqlRoutes
from headrace.control.runs import SqlRuns
from headrace.control.schedule import SqlSchedule
from headrace.control.schema import check_revision, is_empty, require_revision, upgrade, workspace_id
from headrace.control.sharing import Places
from headrace.control.status import SqlStatus
from headrace.control.sweep import SqlSweep
from headrace.control.vault import Vault
from headrace.definition.definitions import Definitions
from headrace.definition.loader import load
from headrace.definition.models import App
from headrace.definition.webhook import Webhook
from headrace.domain.cloud_event import Origin
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import AppId, DataSourceId, FeedId, ModelId
from headrace.errors import ConfigurationError, DataSourceDriftedError, ErrorCode, HeadraceError
from headrace.opening import Opening, given_location
from headrace.ports import Expectations, MergeSoon, Nudge, Residents, Retention, merges_nothing
from headrace.ports.registering import ConnectionFacts, NewDataSource
from headrace.ports.relaying import Backlog, Outbox
from headrace.settings import Settings
from headrace.sources.pool import ReaderPool
from headrace.steps.apply import ApplyReport, ApplyStep
from headrace.steps.catalogue import AppliedCatalogue, Listened, Target, catalogue_of
from headrace.steps.feed_examination import ExaminedFeed, examined
from headrace.steps.fetch import FetchStep, PollReport
from headrace.steps.lease import Keeper
from headrace.steps.limits import Limits, Progress, no_progress
from headrace.steps.merge import MergeStep
from headrace.steps.merge_report import MergeReport
from headrace.steps.merging import Merging
from headrace.steps.move import MoveStep
from headrace.steps.sweep import SweepStep
from headrace.stores.allowed_host import AllowedHosts
from headrace.stores.pool import StorePool

if TYPE_CHECKING:
    from headrace.control.audit import SqlAudit
    from headrace.control.command import SqlCommands
    from headrace.control.customers import SqlCustomers
    from headrace.control.route_cache import RouteCache
    from headrace.control.signing_keys import SqlSigningKeys
    from headrace.control.token_subjects import SqlTokenSubjects
    from headrace.control.tokens import SqlTokens
    from headrace.control.triggers import SqlTriggers
    from headrace.sources.postgres_listen import Notification
    from headrace.steps.promises import FeedPromise
    from headrace.steps.records import RecordsStep
    from headrace.steps.registering import RegisterStep
    from headrace.steps.trigger import TriggerStep

log = logs.get(__name__)

CATALOGUE_S = 1.0
"""How old the definitions may be that this process works by."""
_OBJECTS = 50_000
"""So many more than went, and the collector of garbage looks for some: rows are no objects, and make none."""


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class NoNudge:
    """Implements `ports.Nudge` where nobody listens: the sweeper finds the work."""

    def poll(self, feed_id: FeedId) -> None: ...

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None: ...

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None: ...


class Application:
    """All that a process of Headrace does, on one control database.

    Attributes:
        nudge: where steps say that there is work; the process sets it to its broker's.
        merge_soon: takes merges of what this process has journalled; set by a process that makes them itself.
        stopping: set when the process is asked to stop: polls end after the page that they are at.
    """

    def __init__(self, settings: Settings, *, process: str) -> None:
        self.settings = settings
        self.process = process
        self.nudge: Nudge = NoNudge()
        self.merge_soon: MergeSoon = merges_nothing
        self.stopping = threading.Event()
        self.clock = SystemClock()
        self.engine = control_engine(settings.control_url)
        self.definitions_table = SqlDefinitions(self.engine)
        self.feeds = SqlFeeds(self.engine, pause_after=settings.pause_after_failures)
        self.journal = SqlJournal(self.engine)
        self.routes = SqlRoutes(self.engine)
        self.runs = SqlRuns(self.engine)
        self.moves = SqlMoves(self.engine)
        self.status = SqlStatus(self.engine)
        self.drift = SqlDrift(self.engine)
        self.allowed_hosts = AllowedHosts.from_settings(settings)
        self.vault = Vault([key.get_secret_value() for key in settings.secret_keys])
        self.data_sources = SqlDataSources(
            self.engine,
            Places(
                vault=self.vault,
                environ=os.environ,
                given=partial(given_location, self.allowed_hosts),
                control_url=settings.control_url,
            ),
        )
        self.opening = Opening(
            workspace=self.workspace,
            urls_of=self.data_sources.urls_of,
            allowed_hosts=self.allowed_hosts,
        )
        self._registered = RegisteredBodies(self.data_sources.registered)
        self.readers = ReaderPool(self._app_url, self.opening.app, per_app=settings.threads + 2)
        self.stores = StorePool(
            self._data_source_body,
            self.opening.store,
            self.opening.record_reader,
            most=settings.max_open_stores,
        )
        self._known_customers: Remembered[tuple[str, str], bool] = Remembered()
        self._known_drift: Remembered[str, Collection[Target]] = Remembered()
        self._app_of: dict[FeedId, AppId] = {}
        self._applied: AppliedCatalogue | None = None
        self._asked_at = float("-inf")
        self._lock = threading.Lock()
        self._workspace: str | None = None
        nudge = _Forwarding(self)
        self._fetch = FetchStep(
            feeds=self.feeds,
            routes=self.routes,
            readers=self.readers,
            catalogue=self.catalogue,
            nudge=nudge,
            clock=self.clock,
            limits=Limits(
                lease_s=settings.lease_s,
                page_rows=settings.page_rows,
                page_bytes=settings.page_bytes,
                max_cell_bytes=settings.max_cell_bytes,
                max_batches=settings.max_pending_batches,
                max_bytes=settings.max_pending_bytes,
                reread_share=settings.reread_share,
            ),
            keeper=Keeper(self.feeds, settings.lease_s),
            stopping=self._is_stopping,
            merge_soon=self._merge_soon,
        )
        merging = Merging(
            journal=self.journal,
            stores=self.stores,
            nudge=nudge,
            clock=self.clock,
            random=random.Random(),  # noqa: S311 (jitter)
        )
        self._merge = MergeStep(merging=merging, catalogue=self.catalogue)
        self._move = MoveStep(
            moves=self.moves,
            stores=self.stores,
            catalogue=self.catalogue,
            nudge=nudge,
            restored=self._merge.recognise_restored,
        )
        self._sweep = SweepStep(
            move=self._move,
            schedule=SqlSchedule(self.engine, resend_after_s=settings.resend_after_s),
            swept=SqlSweep(self.engine),
            drift=self.drift,
            merge=self._merge,
            targets=self.targets,
            nudge=nudge,
            nudge_lost_s=settings.nudge_lost_s,
            retention=Retention(
                merged_batches_s=settings.retention_batches_s,
                runs_s=settings.retention_runs_s,
                triggers_s=settings.retention_triggers_s,
                closed_rejected_s=settings.retention_rejected_s,
            ),
        )

    # --- made when they are asked for: what a command does not use, it does not import ------------

    @cached_property
    def commands(self) -> SqlCommands:
        from headrace.control.command import SqlCommands

        return SqlCommands(self.engine)

    def backfill(self, source_id: str, cursor: str, *, actor: str) -> list[FeedId]:
        """See `BackfillStep.read_again`."""
        from headrace.control.backfill import SqlPositions
        from headrace.steps.backfill import BackfillStep

        step = BackfillStep(
            positions=SqlPositions(self.engine),
            readers=self.readers,
            catalogue=self.catalogue,
        )
        return step.read_again(source_id, cursor, actor=actor)

    @cached_property
    def customers(self) -> SqlCustomers:
        from headrace.control.customers import SqlCustomers

        return SqlCustomers(self.engine)

    @cached_property
    def audit(self) -> SqlAudit:
        from headrace.control.audit import SqlAudit

        return SqlAudit(self.engine)

    @cached_property
    def tokens(self) -> SqlTokens:
        from headrace.control.tokens import SqlTokens

        return SqlTokens(self.engine)

    @cached_property
    def signing_keys(self) -> SqlSigningKeys:
        from headrace.control.signing_keys import SqlSigningKeys

        return SqlSigningKeys(self.engine, self.vault)

    @cached_property
    def token_subjects(self) -> SqlTokenSubjects:
        from headrace.control.token_subjects import SqlTokenSubjects

        return SqlTokenSubjects(self.engine)

    @cached_property
    def route_cache(self) -> RouteCache:
        from headrace.control.route_cache import RouteCache

        return RouteCache(self.engine)

    @cached_property
    def records(self) -> RecordsStep:
        """Reads records as customers see them."""
        from headrace.steps.records import RecordsStep

        return RecordsStep(self.route_cache, self.stores, self._is_drifted)

    @property
    def expectations(self) -> Expectations:
        from headrace.stores.expectation import open_expectation

        return open_expectation

    @cached_property
    def triggers(self) -> SqlTriggers:
        from headrace.control.triggers import SqlTriggers

        return SqlTriggers(self.engine)

    @cached_property
    def triggering(self) -> TriggerStep:
        """Meets requests from outside that a source be read now."""
        from headrace.steps.trigger import TriggerStep

        return TriggerStep(
            catalogue=self.catalogue,
            newest=self.definitions_table.version,
            is_customer=self._is_customer,
            triggers=self.triggers,
            nudge=_Forwarding(self),
        )

    def listened(self) -> Mapping[AppId, Listened]:
        """The apps whose notifications are wanted, by what is applied."""
        return self.catalogue().listened()

    def notifications(
        self, app_id: AppId, listened: Listened
    ) -> AsyncGenerator[Sequence[Notification], None]:
        """See `headrace.sources.postgres_listen.notifications`."""
        return self.opening.notifications(app_id, listened.url, listened.channels.keys())

    def _is_customer(self, group: str, provided_id: str) -> bool:
        """As it was at most a second ago; one that was made meanwhile is found at once."""
        key = (group, provided_id)
        return bool(self._known_customers.get(key, lambda: self.customers.exists(*key) or None))

    @cached_property
    def registering(self) -> RegisterStep:
        """Adds data sources and changes them."""
        from headrace.steps.registering import RegisterStep

        return RegisterStep(
            registrations=self.data_sources,
            stores=self.stores,
            models_of=self.models_of,
            trial=self.try_data_source,
            changed=self._registered.forget,
        )

    def _merge_soon(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        return self.merge_soon(data_source_id, model)  # set by the process, later than this is handed out

    def _is_stopping(self) -> bool:
        return self.stopping.is_set()  # the event is the process's own: it may be set later

    # --- definitions ----------------------------------------------------------------------------

    def definitions(self) -> Definitions:
        """Those of the config directory. Raises ConfigurationError with every fault."""
        return load(self.settings.config_dir, os.environ)

    def plan(self, definitions: Definitions) -> ApplyReport:
        """What `apply` would do."""
        with self._apply_step(definitions) as step:
            return step.plan(definitions)

    def promises(self, definitions: Definitions) -> tuple[FeedPromise, ...]:
        """What each feed of these definitions can promise, asked of its source."""
        from headrace.steps.promises import promises

        with self._apply_step(definitions) as step:
            return promises(step.readers, step.feeds(definitions), self.clock)

    def examine(self, definitions: Definitions) -> tuple[ApplyReport, tuple[ExaminedFeed, ...]]:
        """What an apply would do, and how each feed's source suits it, asked right now."""
        with self._apply_step(definitions) as step:
            report, plans = step.plan_and_feeds(definitions)
            return report, examined(step.readers, plans, self.clock)

    def apply(self, definitions: Definitions, *, residents: Residents = Residents.REFUSE) -> ApplyReport:
        """The control database is upgraded, and works by these definitions.

        Args:
            residents: what becomes of customers who have records elsewhere than these lead them.
        """
        self.upgrade()
        with self._apply_step(definitions) as step:
            report = replace(step, residents=residents).apply(definitions)
        drifted = {data_source_id for data_source_id, _ in self.drift.drifted()}
        for store in report.stores:
            if not store.error and store.data_source_id in drifted:
                self.drift.forget(store.data_source_id)
        # Rows held for a customer whom nobody knew: these definitions may know it.
        self.runs.replay_held()
        with self._lock:
            self._asked_at = float("-inf")
        return report

    def upgrade(self) -> None:
        """The control database exists and has every migration."""
        upgrade(self.engine)

    def control_problems(self) -> list[str]:
        """Why the control database cannot be worked with (it is away, a migration lacks); empty when it
        can. Cheap."""
        return check_revision(self.engine)

    def require_control(self) -> None:
        """See `require_revision`."""
        require_revision(self.engine)

    def is_empty(self) -> bool:
        """The control database has no tables yet."""
        return is_empty(self.engine)

    @contextmanager
    def _apply_step(self, definitions: Definitions) -> Iterator[ApplyStep]:
        readers = ReaderPool(
            lambda app_id: definitions.apps[app_id].url.template, self.opening.app, per_app=2
        )
        registered = {} if self.is_empty() else self.data_sources.registered()
        bodies = definitions.bodies["data_sources"]
        stores = StorePool(lambda id_: bodies[id_] if id_ in bodies else registered[id_], self.opening.store)
        try:
            yield ApplyStep(
                registry=self.definitions_table,
                readers=readers,
                stores=stores,
                registered={id_: body["schema"] for id_, body in registered.items()},
            )
        finally:
            readers.close()
            stores.close()

    def catalogue(self, *, at_least: int = 0) -> AppliedCatalogue:
        """The applied definitions, as they were at most `CATALOGUE_S` ago.

        Whoever works by older ones writes nothing: `publish` takes the lease of every feed that reads
        otherwise by the new ones, and a merge compares the store's contract under its lock.
        """
        with self._lock:
            applied, asked_at = self._applied, self._asked_at
        fresh = time.monotonic() < asked_at + CATALOGUE_S
        if applied is not None and fresh and applied.version >= at_least:
            return applied
        asked_at = time.monotonic()
        if applied is None or applied.version != self.definitions_table.version():
            applied = self._read_catalogue()
        with self._lock:
            self._applied, self._asked_at = applied, asked_at
        return applied

    def _read_catalogue(self) -> AppliedCatalogue:
        current = self.definitions_table.current()
        if current is None:
            raise ConfigurationError(
                "nothing is applied yet; run `headrace apply`", code=ErrorCode.NOTHING_APPLIED
            )
        return catalogue_of(current.version, current.compiled, current.bodies)

    # --- connections ----------------------------------------------------------------------------

    def _app_url(self, app_id: AppId) -> str:
        return App.model_validate(self.catalogue().app(app_id)).url.template

    def _data_source_body(self, data_source_id: DataSourceId) -> Mapping[str, Any]:
        catalogue = self.catalogue()
        if ("data_sources", data_source_id) not in catalogue.bodies:
            body = self._registered.get(data_source_id)
            if body is not None:
                return body
        return catalogue.data_source(data_source_id)

    def workspace(self) -> str:
        """The id of this installation: the stamp of its stores, the mark of its readers."""
        if self._workspace is None:
            self._workspace = workspace_id(self.engine)
        return self._workspace

    # --- record events ----------------------------------------------------------------------------

    def outboxes(self) -> Sequence[Origin]:
        """The data sources that make events."""
        catalogue, workspace = self.catalogue(), self.workspace()
        return [
            Origin(workspace=workspace, data_source=DataSourceId(id_), schema=body["schema"])
            for (kind, id_), body in sorted(catalogue.bodies.items())
            if kind == "data_sources" and body.get("events")
        ]

    def outbox(self, origin: Origin) -> Outbox | None:
        """Of one of them, unless it makes no events any more."""
        return self.stores.open(origin.data_source).outbox

    def backlogs(self) -> Iterator[tuple[Origin, Sequence[Backlog]]]:
        """What waits in each outbox that can be asked."""
        for origin in self.outboxes():
            try:
                outbox = self.outbox(origin)
                backlogs = () if outbox is None else outbox.backlog()
            except HeadraceError as error:
                log.warning("outbox cannot be asked", data_source=origin.data_source, error=str(error))
            else:
                yield origin, backlogs

    def webhooks(self) -> Mapping[str, Webhook]:
        """Those that are applied."""
        bodies = self.catalogue().bodies.items()
        return {id_: Webhook.model_validate(body) for (kind, id_), body in bodies if kind == "webhooks"}

    # --- data sources of the API ------------------------------------------------------------------

    def models_of(self, schema: str) -> list[ModelShape]:
        """The applied models of a schema."""
        catalogue = self.catalogue()
        return [catalogue.model(model_id) for model_id in catalogue.models_of(schema)]

    def try_data_source(self, new: NewDataSource, data_source_id: DataSourceId) -> ConnectionFacts:
        """See `check_connection`."""
        wanted = [model.id for model in self.models_of(new.schema)]
        return self.opening.trial(new, data_source_id, wanted=wanted)

    # --- work -----------------------------------------------------------------------------------

    def poll(
        self, feed_id: FeedId, trigger: str = "schedule", progress: Progress = no_progress
    ) -> PollReport:
        """See `FetchStep.poll`."""
        return self._fetch.poll(feed_id, trigger=trigger, progress=progress)

    def app_of(self, feed_id: FeedId) -> AppId | None:
        """The app that a feed is read from; asked once for each."""
        known = self._app_of.get(feed_id)
        if known is None and (known := self.feeds.app_of(feed_id)) is not None:
            self._app_of[feed_id] = known
        return known

    def reconcile(self, feed_id: FeedId, full: bool) -> PollReport:
        """Reconcile a feed as part of a poll."""
        self.commands.request_feed_reconcile(feed_id, full=full)
        return self.poll(feed_id, trigger="reconcile")

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> MergeReport:
        """See `MergeStep.drain`; then moves into the data source that can end have ended."""
        try:
            report = self._merge.drain(data_source_id, model)
        except DataSourceDriftedError as error:
            self.drift.note(data_source_id, model, error.lacking)
            raise
        self._move.advance(data_source_id)
        return report

    def merge_fresh(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        """See `MergeStep.merge_fresh`; moves and drift are left to whoever merges by a nudge."""
        return self._merge.merge_fresh(data_source_id, model)

    def fetch_held(self, customer: str | None = None) -> None:
        """Rows that were held for a customer (`provided_id`; None: any) who leads somewhere now are fetched
        again, by whoever polls next."""
        for feed_id in self.runs.replay_held(customer):
            self.nudge.poll(feed_id)

    def schedule_tick(self) -> int:
        """See `SweepStep.tick`."""
        return self._sweep.tick()

    def sweep(self) -> int:
        """See `SweepStep.sweep`."""
        return self._sweep.sweep()

    def recognise_restored(self) -> None:
        """See `SweepStep.recognise_restored`."""
        self._sweep.recognise_restored()

    def _is_drifted(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        """As it was at most a second ago."""
        found = self._known_drift.get("all", lambda: frozenset(self.drift.drifted()))
        return (data_source_id, model) in (found or ())

    def targets(self) -> Sequence[Target]:
        """Every (data source, model) of what is applied and registered, but for what is disabled."""
        catalogue = self.catalogue()
        registered = [
            (id_, model)
            for id_, body in sorted(self._registered.all().items())
            for model in catalogue.models_of(body["schema"])
        ]
        disabled = self.data_sources.disabled()
        return [target for target in (*catalogue.targets(), *registered) if target[0] not in disabled]

    @contextmanager
    def nudging(self, nudge: Nudge) -> Iterator[None]:
        """Work is told to `nudge` until the context is left."""
        before, self.nudge = self.nudge, nudge
        try:
            yield
        finally:
            self.nudge = before

    def close(self) -> None:
        """Every connection of this process is closed."""
        if "route_cache" in self.__dict__:
            self.route_cache.close()
        self.readers.close()
        self.stores.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Forwarding:
    """Nudges whatever the application nudges at the time."""

    application: Application

    def poll(self, feed_id: FeedId) -> None:
        self.application.nudge.poll(feed_id)

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        self.application.nudge.merge(data_source_id, model)

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None:
        self.application.nudge.reconcile(feed_id, full=full)


def build(settings: Settings, *, process: str) -> Application:
    """The application of a process; connects to nothing yet."""
    gc.set_threshold(_OBJECTS)
    return Application(settings, process=process)
