"""`headrace web`: the HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from headrace.cli.options import Config

if TYPE_CHECKING:
    from headrace.process import Process
    from headrace.wiring import Application


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Run")(web)


def web(config: Config = None) -> None:
    """Serve the HTTP API until it is stopped: for your backends, and for customers' pages.

    Needs applied definitions and HEADRACE_SECRET_KEYS. Listens on HEADRACE_HTTP_HOST and HEADRACE_HTTP_PORT;
    its OpenAPI document is at /openapi.json. `headrace tokens create` makes the tokens that it asks for.

    Example: headrace web
    """
    from headrace import process
    from headrace.cli.session import settings_for

    # A port of their own for metrics takes them off the API's address.
    run = process.supervised if settings_for(config).metrics_port is None else process.run
    raise typer.Exit(run("web", _serve))


def _serve(process: Process) -> None:
    from headrace import wiring
    from headrace.queue import broker as brokers
    from headrace.queue.nudges import nudging
    from headrace.web.server import serve

    with wiring.build(process.settings, process="web") as application:
        _refuse_unready(application)
        process.readiness.needs(application.control_problems)
        if process.settings.broker_url.startswith("memory://"):
            serve(process, application)  # the scheduler finds what a trigger asks for by itself
            return
        broker = brokers.shared(process.settings)
        with nudging(broker) as nudges, application.nudging(nudges):
            serve(process, application)


def _refuse_unready(application: Application) -> None:
    """Raises ConfigurationError, with all that is in the way."""
    from headrace.cli.session import NOTHING_YET
    from headrace.errors import ConfigurationError, ErrorCode, Fault
    from headrace.web.hooks import keys_of

    faults: list[Fault] = []
    try:
        application.require_control()
        if application.definitions_table.version() == 0:
            faults.append(Fault("", "", NOTHING_YET, ErrorCode.NOTHING_APPLIED))
    except ConfigurationError as error:
        faults.extend(error.faults)
    try:
        keys_of(application.settings)
    except ConfigurationError as error:
        faults.extend(error.faults)
    if not application.vault.has_keys:
        why = "set it: it seals the keys of customers' tokens (`openssl rand -base64 32` makes one)"
        faults.append(Fault("HEADRACE_SECRET_KEYS", "", why))
    if faults:
        raise ConfigurationError(*faults)
