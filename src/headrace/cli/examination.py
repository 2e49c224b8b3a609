"""All that `headrace doctor` asks. What cannot be reached is a finding, and stops nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from headrace.cli.feed_findings import FeedSeen, findings_of, together
from headrace.domain.finding import Finding, FindingCode, Severity
from headrace.errors import (
    ConfigurationError,
    DataSourceDriftedError,
    ErrorCode,
    HeadraceError,
    code_apart,
)

if TYPE_CHECKING:
    from headrace.definition.definitions import Definitions
    from headrace.domain.vocabulary import DataSourceId, FeedId
    from headrace.errors import Fault
    from headrace.settings import Settings
    from headrace.steps.apply import ApplyReport, StoreChanges
    from headrace.steps.feed_examination import ExaminedFeed
    from headrace.wiring import Application

FAR_APART_S: Final = 2.0
"""A clock may be so far from ours before it is worth a look."""
_PAST_RETENTION: Final = timedelta(days=1)
_AT_ONCE: Final = 8


def examine(settings: Settings) -> list[Finding]:
    """Everything that is connected was asked, and what came of it, in the order of asking."""
    from headrace import wiring

    definitions, findings = _definitions(settings)
    control = list(_control(settings))
    findings += control
    if definitions is None:
        return findings
    findings.append(_broker(settings))
    if any(finding.severity is Severity.ERROR for finding in control):
        return findings
    with wiring.build(settings, process="cli") as app:
        findings += _databases(app, definitions)
    return findings


def _definitions(settings: Settings) -> tuple[Definitions | None, list[Finding]]:
    from headrace.cli.session import definitions_of

    where = "definitions"
    try:
        definitions = definitions_of(settings)
    except ConfigurationError as error:
        return None, [
            Finding(
                severity=Severity.ERROR,
                code=fault.code,
                where=where,
                what=str(fault).removeprefix(": "),
                remedy="correct it; headrace validate checks all of them",
            )
            for fault in error.faults
        ]
    return definitions, [Finding(where=where, what=f"{definitions.directory} is right")]


def _error(code: str, where: str, what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.ERROR, code=code, where=where, what=what, remedy=remedy)


def _warning(code: str, where: str, what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.WARNING, code=code, where=where, what=what, remedy=remedy)


# --- the control database and the broker ------------------------------------------------------------


def _control(settings: Settings) -> Iterator[Finding]:
    from headrace.cli.session import is_missing
    from headrace.control.engine import control_engine
    from headrace.control.schema import check

    where = "control database"
    if is_missing(settings.control_url):  # asking would make it
        yield _error(FindingCode.CONTROL_MISSING, where, "there is none", "headrace apply makes it")
        return
    try:
        engine = control_engine(settings.control_url)
        try:
            problems = check(engine)
        finally:
            engine.dispose()
    except HeadraceError as error:
        yield _error(error.code, where, str(error), "start it, or correct HEADRACE_CONTROL_URL")
        return
    for problem in problems:
        what, code = code_apart(problem)
        what, _, remedy = (
            what.rpartition(": ") if ": run " in what else (what, "", "undo it, or restore a backup")
        )
        yield _error(code or ErrorCode.FAILED, where, what, remedy.removeprefix("run ").strip("`"))
    if not problems:
        yield Finding(where=where, what="it answers, and has every migration of this version")


def _broker(settings: Settings) -> Finding:
    from headrace.queue import broker as brokers

    where = "broker"
    scheme = settings.broker_url.partition(":")[0]
    if scheme == "memory":
        return Finding(where=where, what="none: sync, and up in one process, work without")
    try:
        broker = brokers.make(settings.broker_url, namespace=settings.queue_namespace)
        try:
            broker.check()
            concern = broker.concern()
        finally:
            broker.close()
    except HeadraceError as error:
        remedy = "start it, or correct HEADRACE_BROKER_URL; nothing is lost without it, and nothing is nudged"
        return _error(error.code, where, str(error).removeprefix("HEADRACE_BROKER_URL: "), remedy)
    if concern is not None:
        return _warning(concern.code, where, concern.what, concern.remedy)
    return Finding(where=where, what=f"{scheme} answers, and keeps what it is given")


# --- databases --------------------------------------------------------------------------------------


def _databases(app: Application, definitions: Definitions) -> Iterator[Finding]:
    report, feeds = app.examine(definitions)
    yield from _stores(app, report)
    yield from _faults(report)
    yield from _clocks(app, feeds)
    yield from _retention(app)
    yield from _feeds(app, definitions, feeds)


def _stores(app: Application, report: ApplyReport) -> Iterator[Finding]:
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="examine") as pool:
        for found in pool.map(lambda store: list(_store(app, store)), report.stores):
            yield from found


def _store(app: Application, store: StoreChanges) -> Iterator[Finding]:
    where = f"data source {store.data_source_id}"
    if store.error:
        what, code = code_apart(store.error)
        yield _error(code or ErrorCode.FAILED, where, what, "correct its url, or start it")
        return
    well = True
    for lacking in _lacking(app, store.data_source_id):
        well = False
        yield _error(ErrorCode.DATA_SOURCE_DRIFTED, where, lacking, "headrace apply mends it")
    if well and store.changes:
        well = False
        what = "its tables are not as these definitions want them"
        yield _warning(FindingCode.TABLES_BEHIND, where, what, "headrace apply")
    try:
        examined = app.stores.open(store.data_source_id).examine()
    except HeadraceError as error:
        if error.code != ErrorCode.NOTHING_APPLIED:
            yield _error(error.code, where, str(error), "correct its url or rights")
        return
    for right in examined.lacking:
        well = False
        what, _, mend = right.partition(": ")
        yield _error(ErrorCode.STORE_MISCONFIGURED, where, what, mend)
    if well:
        yield Finding(where=where, what="it answers, is ours, and its tables fit")
    if examined.at is not None:
        yield _clock(f"clock of {where}", (examined.at - datetime.now(UTC)).total_seconds())


def _lacking(app: Application, data_source_id: DataSourceId) -> list[str]:
    """Why models of it are neither merged nor read."""
    found = []
    try:
        models = [model for target, model in app.targets() if target == data_source_id]
        catalogue = app.catalogue()
    except ConfigurationError:  # nothing is applied yet
        return []
    for model in models:
        try:
            app.stores.open(data_source_id).applied(catalogue.model(model))
        except DataSourceDriftedError as error:
            found.append(f"model {model} is drifted: {'; '.join(error.lacking)}")
        except ConfigurationError:  # its tables were not made yet
            continue
    return found


def _faults(report: ApplyReport) -> Iterator[Finding]:
    for fault in report.unavailable:
        yield _error(fault.code, _name_of(fault), fault.message, "start it, or correct its url")
    for fault in report.faults:
        remedy = "correct the definition, or what it reads"
        yield _error(fault.code, _name_of(fault), fault.message, remedy)
    for fault in report.warnings:
        remedy = "name a key that is unique, or make a unique index of it"
        yield _warning(FindingCode.KEY_NOT_UNIQUE, _name_of(fault), fault.message, remedy)


def _name_of(fault: Fault) -> str:
    """The fault's file, after the kind of what it defines: its directory's."""
    kind = PurePath(fault.file).parent.name
    return f"{kind.removesuffix('s').replace('_', ' ')} {fault.file}"


# --- clocks and retention ---------------------------------------------------------------------------


def _clocks(app: Application, feeds: tuple[ExaminedFeed, ...]) -> Iterator[Finding]:
    """Of the control database, and of each app that has one."""
    if app.engine.dialect.name != "sqlite":
        yield _clock(
            "clock of the control database", (app.status.moment() - datetime.now(UTC)).total_seconds()
        )
    ahead = {f.promise.app_id: f.promise.ahead_s for f in feeds if f.promise.ahead_s is not None}
    for app_id, seconds in sorted(ahead.items()):
        yield _clock(f"clock of app {app_id}", seconds)


def _clock(where: str, seconds: float) -> Finding:
    if abs(seconds) < FAR_APART_S:
        return Finding(where=where, what=f"{abs(seconds):.1f} s from this machine's")
    what = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    remedy = "let both follow a time server; cursors are compared with the app's own clock all the same"
    return _warning(FindingCode.CLOCK_APART, where, what, remedy)


def _retention(app: Application) -> Iterator[Finding]:
    oldest = app.status.oldest_run()
    kept = timedelta(seconds=app.settings.retention_runs_s)
    if oldest is not None and oldest < app.status.moment() - kept - _PAST_RETENTION:
        yield _warning(
            FindingCode.RETENTION_BEHIND,
            "control database",
            f"runs since {oldest:%Y-%m-%d} are kept, though they have had their time",
            "let a scheduler run, or headrace up: it sweeps",
        )


# --- feeds ------------------------------------------------------------------------------------------


def _feeds(app: Application, definitions: Definitions, feeds: tuple[ExaminedFeed, ...]) -> list[Finding]:
    known = {(feed.source_id, feed.app_id): feed for feed in app.status.feed_status()}
    held, found = _held_rows(app), list[Finding]()
    for feed in feeds:
        source = definitions.sources[feed.plan.source.id]
        status = known.get((feed.plan.source.id, feed.plan.app_id))
        late_by = None
        if status is not None and not status.paused and source.schedule.freshness is not None:
            late_by = _late_by(status.seen_at, status.last_success_at, source.schedule.freshness.span)
        found += findings_of(
            FeedSeen(
                examined=feed,
                status=status,
                held=held.get(status.feed_id, 0) if status else 0,
                late_by=late_by,
                zone_is_said="time_zone" in source.schedule.model_fields_set,
            )
        )
    return together(found)


def _late_by(now: datetime, succeeded: datetime | None, allowed: timedelta) -> timedelta | None:
    """None for what never succeeded: it is told otherwise."""
    by = None if succeeded is None else now - succeeded - allowed
    return by if by is not None and by > timedelta(0) else None


def _held_rows(app: Application) -> Mapping[FeedId, int]:
    held: dict[FeedId, int] = {}
    try:
        data_sources = dict.fromkeys(data_source for data_source, _ in app.targets())
    except ConfigurationError:  # nothing is applied yet
        return held
    for data_source_id in data_sources:
        try:
            rows = app.stores.open(data_source_id).held_rows()
        except HeadraceError:
            continue  # told of the data source
        for feed_id, number in rows.items():
            held[feed_id] = held.get(feed_id, 0) + number
    return held
