"""`headrace data-sources`: where records are, and where they shall be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from headrace.cli.group import Group
from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.control.data_source_view import DataSourceView

SHOWN: Final = 10_000

commands = typer.Typer(help="Data sources, and the defaults of schemas.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ID", help="A data source, by id or provided id.")]
_Url = Annotated[
    str,
    typer.Option(
        help="postgresql://user@host/database or sqlite:///file; - reads it from standard input, so that its "
        "password is seen nowhere.",
    ),
]
_Schema = Annotated[str, typer.Option(metavar="ID", help="The schema whose models it holds.")]
_Namespace = Annotated[str, typer.Option(help="The PostgreSQL schema of its tables; SQLite has none.")]
_Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group", metavar="ID", help="A visibility group that may use it; implied when there is one."
    ),
]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="data-sources", rich_help_panel="Operate")


@commands.command("list")
def list_data_sources(
    schema: Annotated[str | None, typer.Option(metavar="ID", help="Of this schema alone.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List data sources, those of files and those that were added.

    Example: headrace data-sources list --schema shop
    """
    from headrace.cli import screen
    from headrace.cli.session import applied

    with applied(config) as app:
        found = app.data_sources.list(limit=SHOWN, schema=schema).items
    if json:
        screen.print_json([as_json(view) for view in found])
        return
    columns = [screen.Column(n) for n in ("id", "nickname", "schema", "groups", "default for", "state")]
    columns += [screen.Column(n, spare=True) for n in ("type", "isolation", "made by")]
    rows = [
        (v.id, v.nickname, v.schema, ", ".join(v.visibility_groups), ", ".join(v.default_for) or None,
         v.state.value, v.type, v.isolation, v.origin)
        for v in found
    ]  # fmt: skip
    screen.print_table(columns, rows)


@commands.command()
def show(data_source: _Id, config: Config = None, json: Json = False) -> None:
    """Show a data source, what holds it, and who would be without one if it were disabled.

    Example: headrace data-sources show eu
    """
    from headrace.cli import screen
    from headrace.cli.customer_output import impact_as_json
    from headrace.cli.session import applied

    with applied(config) as app:
        view = app.data_sources.named(data_source)
        held = app.data_sources.holders(view.id).as_members()
        impact = app.data_sources.foresee_disabled(view.id, within=None)
    if json:
        screen.print_json({**as_json(view), "holders": held, "if_disabled": impact_as_json(impact)})
        return
    _print(view)
    for word, names in held.items():
        if names:
            screen.print_line(f"{word.replace('_', ' ')}: {', '.join(names)}", markup=False)
    without = screen.counted(impact.changing, "customer") if impact.changing else "nobody"
    affected = ", ".join(one.customer for one in impact.led)
    screen.print_line(
        f"If it were disabled, {without} would be without one{affected and f': {affected}'}.", markup=False
    )


@commands.command()
def add(
    nickname: Annotated[str, typer.Argument(metavar="NICKNAME", help="What people call it.")],
    url: _Url,
    schema: _Schema,
    provided_id: Annotated[str | None, typer.Option(help="Its id in your own systems; else its id.")] = None,
    read_url: Annotated[
        str | None, typer.Option(help="The same database for a role that only reads, to read records with.")
    ] = None,
    namespace: _Namespace = "headrace",
    dedicated: Annotated[bool, typer.Option("--dedicated", help="It serves one customer alone.")] = False,
    group: _Groups = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Add a data source without a file: it is tried, its tables are made, and it serves. Needs
    HEADRACE_SECRET_KEYS, with which its URL is sealed, and HEADRACE_ALLOWED_HOSTS or HEADRACE_SQLITE_DIR.

    Example: headrace data-sources add "Acme's own" --schema shop --dedicated --url -
    """
    from headrace.cli.group import group_of, me
    from headrace.cli.session import applied
    from headrace.control.audit import AuditLine, telling_refusals
    from headrace.ports.registering import NewDataSource

    isolation: Literal["dedicated", "shared"] = "dedicated" if dedicated else "shared"
    with applied(config) as app:
        new = NewDataSource(
            nickname=nickname,
            provided_id=provided_id,
            schema=schema,
            visibility_groups=tuple(group or (group_of(app, None),)),
            type=_type_of(read := _read(url)),
            url=read,
            read_url=None if read_url is None else _read(read_url),
            namespace=namespace,
            isolation=isolation,
        )
        line = AuditLine(
            actor=me(),
            action="data_source.add",
            visibility_group=new.visibility_groups[0] if len(new.visibility_groups) == 1 else None,
            schema=schema,
        )
        with telling_refusals(app.audit, line):
            id_ = app.registering.add(new, actor=me(), within=None)
        view = app.data_sources.get(id_)
    _print(view, as_json_=json)


@commands.command("test")
def try_it(
    url: _Url,
    schema: _Schema,
    namespace: _Namespace = "headrace",
    group: _Groups = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Try a database as a data source; nothing is kept, there or here.

    Example: headrace data-sources test --schema shop --url postgresql://me:secret@db.internal/records
    """
    from dataclasses import asdict

    from headrace.cli import screen
    from headrace.cli.group import group_of
    from headrace.cli.session import applied
    from headrace.ports.registering import NewDataSource
    from headrace.steps.registering import NOBODY

    with applied(config) as app:
        new = NewDataSource(
            nickname="",
            schema=schema,
            visibility_groups=tuple(group or (group_of(app, None),)),
            type=_type_of(read := _read(url)),
            url=read,
            namespace=namespace,
        )
        app.data_sources.check(new)
        facts = app.try_data_source(new, NOBODY)
    if json:
        screen.print_json(asdict(facts))
        return
    screen.print_line(f"It can be used: version {facts.server_version}.", markup=False)
    if facts.foreign_tables:
        screen.print_line(f"Tables of others are let be: {', '.join(facts.foreign_tables)}", markup=False)


@commands.command()
def update(
    data_source: _Id,
    nickname: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    provided_id: Annotated[str | None, typer.Option(help="Its id in your own systems.")] = None,
    url: Annotated[str | None, typer.Option(help="Another URL; - reads it from standard input.")] = None,
    read_url: Annotated[str | None, typer.Option(help="Another one of the role that only reads.")] = None,
    group: _Groups = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell who would be led elsewhere.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Change a data source that has no file. `--group`, repeated, says all that may use it.

    Example: headrace data-sources update eu --nickname "Frankfurt"
    """
    from headrace.cli.customer_output import print_impact
    from headrace.cli.group import me
    from headrace.cli.session import applied
    from headrace.ports.registering import DataSourceChange

    with applied(config) as app:
        change = DataSourceChange(
            nickname=nickname,
            provided_id=provided_id,
            visibility_groups=None if group is None else tuple(group),
            url=None if url is None else _read(url),
            read_url=None if read_url is None else _read(read_url),
        )
        id_ = app.data_sources.named(data_source).id
        if dry_run:
            print_impact(app.data_sources.foresee(id_, change, within=None), as_json=json)
            return
        app.registering.update(id_, change, actor=me(), within=None)
        view = app.data_sources.get(id_)
    _print(view, as_json_=json)


@commands.command()
def drain(
    data_source: _Id,
    to: Annotated[
        str | None, typer.Option(metavar="ID", help="Its customers move there; it becomes the default.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Let a data source take no more customers; with --to, move those that it has.

    Exits with 1 where a customer could not begin to move.

    Example: headrace data-sources drain old --to eu
    """
    from headrace.cli import screen
    from headrace.cli.customer_output import move_as_json, print_moves
    from headrace.cli.group import me
    from headrace.cli.session import applied
    from headrace.control.draining import drain as drain_it

    with applied(config) as app:
        id_ = app.data_sources.named(data_source).id
        target = None if to is None else app.data_sources.named(to).id
        drained = drain_it(app.data_sources, app.moves, id_, to=target, actor=me(), within=None)
        left = app.data_sources.holders(id_).as_members()
    refused = [error.detail for error in drained.refused]
    if json:
        moves = [move_as_json(one) for one in drained.moves]
        screen.print_json({"data_source": id_, "moves": moves, "refused": refused, "holders": left})
    else:
        screen.print_line(f"{id_}: takes no more customers.", markup=False)
        if drained.moves:
            print_moves(drained.moves)
        for why in refused:
            typer.echo(why, err=True)
    if refused:
        raise typer.Exit(1)


@commands.command()
def activate(data_source: _Id, config: Config = None, json: Json = False) -> None:
    """Let a data source that is drained or disabled serve again; its tables are made if need be.

    Example: headrace data-sources activate eu
    """
    from headrace.cli.group import me
    from headrace.cli.session import applied

    with applied(config) as app:
        id_ = app.data_sources.named(data_source).id
        app.registering.activate(id_, actor=me(), within=None)
        app.fetch_held()
        view = app.data_sources.get(id_)
    _print(view, as_json_=json)


@commands.command()
def delete(
    data_source: _Id,
    force: Annotated[bool, typer.Option("--force", help="Disable it where it is in use.")] = False,
    config: Config = None,
) -> None:
    """Delete a data source's registration. What is stored in it stays; what is in use is refused.

    Example: headrace data-sources delete old
    """
    from headrace.cli import screen
    from headrace.cli.group import me
    from headrace.cli.session import applied

    with applied(config) as app:
        id_ = app.data_sources.named(data_source).id
        kept = app.data_sources.delete(id_, actor=me(), within=None, force=force)
    screen.print_line(
        f"{id_}: its registration is deleted." if kept is None else f"{id_}: in use, so disabled.",
        markup=False,
    )


@commands.command()
def default(
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="The schema.")],
    data_source: Annotated[
        str | None, typer.Argument(metavar="ID", help="Its default from now on; none: --none.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="It has no default any more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell who would be led elsewhere.")] = False,
    group: Group = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Set the default data source of a schema. Customers without records follow at once; others stay.

    Example: headrace data-sources default shop eu --dry-run
    """
    from headrace.cli.customer_output import print_impact
    from headrace.cli.group import group_of, me
    from headrace.cli.session import applied
    from headrace.errors import ConfigurationError

    if (data_source is None) != none:
        raise ConfigurationError("which data source? Give its id, or --none")
    with applied(config) as app:
        group_id = group_of(app, group)
        id_ = None if data_source is None else app.data_sources.named(data_source, within=group_id).id
        impact = app.data_sources.foresee_default(group_id, schema, id_)
        if not dry_run:
            app.data_sources.set_default(group_id, schema, id_, actor=me())
            app.fetch_held()
    print_impact(impact, as_json=json)


def as_json(view: DataSourceView) -> dict[str, Any]:
    return {
        "id": view.id,
        "provided_id": view.provided_id,
        "nickname": view.nickname,
        "schema": view.schema,
        "groups": view.visibility_groups,
        "default_for": view.default_for,
        "type": view.type,
        "namespace": view.namespace,
        "isolation": view.isolation,
        "state": view.state.value,
        "origin": view.origin,
        "config_version": view.config_version,
    }


def _print(view: DataSourceView, *, as_json_: bool = False) -> None:
    from headrace.cli import screen

    if as_json_:
        screen.print_json(as_json(view))
        return
    shown = {name: ", ".join(v) if isinstance(v, tuple) else v for name, v in as_json(view).items()}
    rows = [(name.replace("_", " "), value or None) for name, value in shown.items()]
    screen.print_table([screen.Column("what"), screen.Column("is")], rows)


def _read(url: str) -> str:
    """The URL, from standard input where it is -."""
    import sys

    return sys.stdin.readline().strip() if url == "-" else url


def _type_of(url: str) -> str:
    return "sqlite" if url.startswith("sqlite:") else "postgres"
