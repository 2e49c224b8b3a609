"""`headrace doctor`: everything that is connected, asked once, with how to mend what is not well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.control.status import FeedStatus
    from headrace.definition.definitions import Definitions
    from headrace.domain.vocabulary import DataSourceId
    from headrace.errors import Fault
    from headrace.settings import Settings
    from headrace.steps.promises import FeedPromise
    from headrace.wiring import Application

FAR_APART_S = 2.0
"""A source's clock may be so far from ours before it is worth a look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was asked.

    Attributes:
        state: `ok`, `warn` (it works, and somebody should look) or `fail`.
        mend: what to do; None where nothing is to be done.
    """

    check: str
    state: str = "ok"
    found: str
    mend: str | None = None


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operate")(doctor)


def doctor(
    prove_isolation: Annotated[
        bool,
        typer.Option(
            "--prove-isolation",
            help="Instead, write records of made-up customers into tables of their own in every data source, "
            "look whether anybody finds another's, and remove them.",
        ),
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Ask everything that is connected how it is, and how to mend what is not well. Changes nothing.

    Example: headrace doctor
    """
    if prove_isolation:
        from headrace.cli.prove_isolation import prove

        raise typer.Exit(prove(config, as_json=json))
    from dataclasses import asdict

    from headrace.cli import screen
    from headrace.cli.session import settings_for
    from headrace.logs import scrubbed

    checks = list(_checks(settings_for(config)))
    if json:
        screen.print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            screen.print_line(scrubbed(f"{check.state:<4}  {check.check}: {check.found}"), markup=False)
            if check.mend:
                screen.print_line(f"      {check.mend}", markup=False)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


def _checks(settings: Settings) -> Iterator[Check]:
    from headrace import wiring
    from headrace.cli.session import definitions_of
    from headrace.errors import ConfigurationError

    control = list(_control(settings))
    try:
        definitions = definitions_of(settings)
    except ConfigurationError as error:
        yield Check(check="definitions", state="fail", found=str(error), mend="headrace validate tells more")
        yield from control
        return
    yield Check(check="definitions", found=f"{definitions.directory} is right")
    yield from control
    yield _broker(settings)
    if all(check.state == "ok" for check in control):
        with wiring.build(settings, process="cli") as app:
            yield from _databases(app, definitions)


def _control(settings: Settings) -> Iterator[Check]:
    from headrace.cli.session import is_missing
    from headrace.control.engine import control_engine
    from headrace.control.schema import check as problems_of
    from headrace.errors import HeadraceError

    if is_missing(settings.control_url):  # asking would make it
        yield Check(check="control database", state="fail", found="there is none", mend="run headrace apply")
        return
    engine = control_engine(settings.control_url)
    try:
        problems = problems_of(engine)
    except HeadraceError as error:
        mend = "start it, or correct HEADRACE_CONTROL_URL"
        yield Check(check="control database", state="fail", found=str(error), mend=mend)
        return
    finally:
        engine.dispose()
    for problem in problems:
        mend = "run headrace db upgrade"
        yield Check(check="control database", state="fail", found=problem, mend=mend)
    if not problems:
        yield Check(check="control database", found="it answers, at this version")


def _broker(settings: Settings) -> Check:
    from headrace.errors import HeadraceError
    from headrace.queue import broker

    scheme = settings.broker_url.partition(":")[0]
    if scheme == "memory":
        return Check(check="broker", found="none: sync, and up in one process, work without")
    try:
        broker.make(settings.broker_url, namespace=settings.queue_namespace).check()
    except HeadraceError as error:
        mend = "start it, or correct HEADRACE_BROKER_URL; until then nothing is lost, and nothing is nudged"
        return Check(check="broker", state="fail", found=str(error), mend=mend)
    return Check(check="broker", found=f"{scheme} answers")


def _databases(app: Application, definitions: Definitions) -> Iterator[Check]:
    report = app.plan(definitions)
    for store in report.stores:
        name = f"data source {store.data_source_id}"
        if store.error:
            yield Check(check=name, state="fail", found=store.error, mend="correct its url, or start it")
        elif lacking := _lacking(app, store.data_source_id):
            yield Check(check=name, state="fail", found="; ".join(lacking), mend="run headrace apply")
        elif store.changes:
            yield Check(
                check=name,
                state="warn",
                found="its tables are not as these definitions want them",
                mend="run headrace apply",
            )
        else:
            yield Check(check=name, found="it answers, and its tables fit")
    for fault in report.unavailable:
        mend = "start it, or correct its url"
        yield Check(check=_name_of(fault), state="fail", found=fault.message, mend=mend)
    for fault in report.faults:
        mend = "correct the definition, or what it reads"
        yield Check(check=_name_of(fault), state="fail", found=fault.message, mend=mend)
    told = app.promises(definitions)
    yield from _clocks(told)
    feeds = {(feed.source_id, feed.app_id): feed for feed in app.status.feed_status()}
    for promise in told:
        yield _feed(promise, feeds.get((promise.source_id, promise.app_id)))


def _lacking(app: Application, data_source_id: DataSourceId) -> list[str]:
    """Why models of it are neither merged nor read."""
    from headrace.errors import ConfigurationError, DataSourceDriftedError

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


def _name_of(fault: Fault) -> str:
    """The fault's file, after the kind of what it defines: its directory's."""
    kind = PurePath(fault.file).parent.name
    return f"{kind.removesuffix('s').replace('_', ' ')} {fault.file}"


def _clocks(told: tuple[FeedPromise, ...]) -> Iterator[Check]:
    """The clock of each app that has one."""
    ahead = {p.app_id: p.ahead_s for p in told if p.ahead_s is not None}
    for app_id, seconds in sorted(ahead.items()):
        name = f"clock of app {app_id}"
        if abs(seconds) < FAR_APART_S:
            yield Check(check=name, found=f"{abs(seconds):.1f} s from this machine's")
            continue
        found = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
        mend = "let both follow a time server; cursors are compared with the app's own clock all the same"
        yield Check(check=name, state="warn", found=found, mend=mend)


def _feed(promise: FeedPromise, feed: FeedStatus | None) -> Check:
    """What its source says now, and else what ended its last poll, if anything did."""
    from headrace.domain.vocabulary import FeedClass

    name = f"feed {promise.source_id} of app {promise.app_id}"
    if promise.feed_class is None:
        mend = (
            "correct the app's url, or start it"
            if promise.away
            else "correct the definition, or what it reads and may read; "
            f"then headrace sync --source {promise.source_id}"
        )
        return Check(check=name, state="fail", found=promise.reason, mend=mend)
    if feed is not None and feed.stopped_by_drift:
        mend = f"when that is so no more, headrace resume {promise.source_id}; else headrace apply"
        return Check(check=name, state="fail", found=f"it is stopped: {feed.paused_reason}", mend=mend)
    if feed is not None and feed.failures:
        mend = f"its source answers now: headrace sync --source {promise.source_id} tries again"
        return Check(check=name, state="warn", found=f"its last poll failed: {feed.last_error}", mend=mend)
    if promise.feed_class is FeedClass.EXACT:
        return Check(check=name, found="exact", mend=promise.note or None)
    return Check(
        check=name, state="warn", found=f"{promise.feed_class}: {promise.reason}", mend=promise.note or None
    )
