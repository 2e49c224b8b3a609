"""`headrace customers`: who they are, and which data sources they have."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.customer_output import (
    as_json,
    move_as_json,
    placed,
    print_customer,
    print_impact,
    print_moves,
)
from headrace.cli.group import CustomerName, Group
from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.control.data_sources import SqlDataSources
    from headrace.domain.assignment import Asked

SHOWN: Final = 100

commands = typer.Typer(help="Customers, and the data sources that they have.", no_args_is_help=True)

_DataSources = Annotated[
    list[str] | None,
    typer.Option("--data-source", metavar="ID", help="Bind it to this data source, by id or provided id."),
]
_Parent = Annotated[str | None, typer.Option(metavar="CUSTOMER", help="The customer above it.")]
_Properties = Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object of your own.")]
_Name = Annotated[str | None, typer.Option(help="What people call it.")]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="customers", rich_help_panel="Operate")


@commands.command("list")
def list_customers(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Customers to show, at most.")] = SHOWN,
    group: Group = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List customers with the data source that each has in every schema, and why.

    Example: headrace customers list --group production
    """
    from headrace.cli import screen
    from headrace.cli.group import group_of
    from headrace.cli.session import applied

    with applied(config) as app:
        page = app.customers.list(group_of(app, group), limit=limit)
    if json:
        screen.print_json([as_json(view) for view in page.items])
        return
    if not page.items:
        screen.print_line("There are no customers yet: rows make them, or `headrace customers create`.")
        return
    schemas = sorted({schema for view in page.items for schema in view.computed_mapping})
    columns = [
        screen.Column("customer"),
        screen.Column("name", spare=True),
        screen.Column("parent", spare=True),
    ]
    columns += [screen.Column(schema) for schema in schemas]
    rows = [
        (view.provided_id, view.name, view.parent_provided_id, *(placed(view, schema) for schema in schemas))
        for view in page.items
    ]
    screen.print_table(columns, rows)
    if page.next is not None:
        screen.print_line(f"There are more than {limit:,}: --limit shows them.")


@commands.command()
def show(customer: CustomerName, group: Group = None, config: Config = None, json: Json = False) -> None:
    """Show a customer.

    Example: headrace customers show acme
    """
    from headrace.cli.group import customer_name, group_of
    from headrace.cli.session import applied

    with applied(config) as app:
        view = app.customers.get(group_of(app, group), customer_name(customer))
    print_customer(view, as_json_=json)


@commands.command()
def create(
    provided_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Its id in your own systems.")],
    name: _Name = None,
    data_source: _DataSources = None,
    parent: _Parent = None,
    properties: _Properties = None,
    group: Group = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Create a customer, or find it. Without a data source it takes the default of each schema.

    Example: headrace customers create acme --data-source eu
    """
    from headrace.cli.group import customer_name, group_of, me
    from headrace.cli.session import applied
    from headrace.control.customers import NewCustomer

    with applied(config) as app:
        group_id = group_of(app, group)
        new = NewCustomer(
            provided_id=_checked(provided_id),
            name=name,
            parent=None if parent is None else customer_name(parent),
            properties=_object(properties) or {},
            asked=_asked(app.data_sources, group_id, data_source or ()),
        )
        view, made = app.customers.create(group_id, new, actor=me())
        app.fetch_held(view.provided_id)
    if not made and not json:
        typer.echo(f"{provided_id} exists already.", err=True)
    print_customer(view, as_json_=json)


@commands.command()
def update(
    customer: CustomerName,
    name: _Name = None,
    provided_id: Annotated[
        str | None, typer.Option(help="Another provided id; only while it has no records.")
    ] = None,
    data_source: _DataSources = None,
    inherit: Annotated[
        list[str] | None, typer.Option(metavar="SCHEMA", help="Take its parent's or the default here.")
    ] = None,
    parent: _Parent = None,
    no_parent: Annotated[bool, typer.Option("--no-parent", help="It has no parent any more.")] = False,
    properties: _Properties = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell who would be led elsewhere.")] = False,
    group: Group = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Change a customer. One that has records is led to another data source by `customers move` alone.

    Example: headrace customers update acme --parent holding --dry-run
    """
    from headrace.cli.group import customer_name, group_of, me
    from headrace.cli.session import applied
    from headrace.control.customer_change import UNCHANGED, CustomerChange
    from headrace.errors import ConfigurationError

    if parent is not None and no_parent:
        raise ConfigurationError("--parent and --no-parent exclude each other: give one of them")
    above = None if no_parent else UNCHANGED if parent is None else customer_name(parent)
    with applied(config) as app:
        group_id = group_of(app, group)
        change = CustomerChange(
            name=name,
            provided_id=None if provided_id is None else _checked(provided_id),
            properties=_object(properties),
            parent=above,
            asked=_asked(app.data_sources, group_id, data_source or ()),
            unbound=tuple(inherit or ()),
        )
        if dry_run:
            print_impact(app.customers.foresee(group_id, customer_name(customer), change), as_json=json)
            return
        view = app.customers.update(group_id, customer_name(customer), change, actor=me())
        app.fetch_held(view.provided_id)
    print_customer(view, as_json_=json)


@commands.command()
def delete(customer: CustomerName, group: Group = None, config: Config = None) -> None:
    """Delete a customer; its records go from their data sources with the next merges.

    Example: headrace customers delete acme
    """
    from headrace.cli import screen
    from headrace.cli.group import customer_name, group_of, me
    from headrace.cli.session import applied

    with applied(config) as app:
        merges = app.customers.delete(group_of(app, group), customer_name(customer), actor=me())
        for target in merges:
            app.merge(*target)
    screen.print_line(f"{customer}: deleted.", markup=False)


@commands.command()
def move(
    customer: CustomerName,
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="Its records of this schema.")],
    to: Annotated[str, typer.Option(metavar="ID", help="The data source, by id or provided id.")],
    switch_only: Annotated[
        bool, typer.Option("--switch-only", help="Leave behind what is stored; new rows go to the other one.")
    ] = False,
    group: Group = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Move a customer's records of a schema to another data source: they are read anew into it.

    Workers do it, or the next `headrace sync`; until it is done everybody reads the old ones.

    Example: headrace customers move acme shop --to eu
    """
    from headrace.cli import screen
    from headrace.cli.group import customer_name, group_of, me
    from headrace.cli.session import applied
    from headrace.control.audit import AuditLine, telling_refusals

    with applied(config) as app:
        group_id = group_of(app, group)
        view = app.customers.get(group_id, customer_name(customer))
        target = app.data_sources.named(to, within=group_id).id
        line = AuditLine(
            actor=me(),
            action="customer.switch" if switch_only else "customer.move",
            visibility_group=group_id,
            customer=view.provided_id,
            schema=schema,
            data_source_id=target,
        )
        begin = app.moves.switch if switch_only else app.moves.start
        with telling_refusals(app.audit, line):
            app.moves.refuse_owned_by_config(view.id)
            begun = begin(view.id, schema, target, actor=me())
    if json:
        screen.print_json(move_as_json(begun))
    elif switch_only:
        screen.print_line(
            f"{customer}: what {begun.source} has of it stays there, read by nobody.", markup=False
        )
    else:
        print_moves([begun])


@commands.command()
def moves(
    customer: Annotated[str | None, typer.Argument(metavar="CUSTOMER", help="Of this one alone.")] = None,
    group: Group = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List moves, the latest first: of a customer, or of all in the visibility group.

    Example: headrace customers moves acme
    """
    from headrace.cli import screen
    from headrace.cli.group import customer_name, group_of
    from headrace.cli.session import applied

    with applied(config) as app:
        group_id = group_of(app, group)
        whose = None if customer is None else app.customers.get(group_id, customer_name(customer)).id
        found = [m for m in app.moves.list(customer_id=whose) if m.visibility_group == group_id]
    if json:
        screen.print_json([move_as_json(one) for one in found])
    elif found:
        print_moves(found)
    else:
        screen.print_line("There are no moves.")


@commands.command()
def cancel(
    move_id: Annotated[str, typer.Argument(metavar="MOVE", help="Its id, as `customers moves` has it.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Cancel a move: the customer stays where it was, and the other data source is cleared of it.

    Example: headrace customers cancel 0b1e7c52-4e0c-4c53-9b57-6f1d3f0a9a11
    """
    from headrace.cli import screen
    from headrace.cli.group import me
    from headrace.cli.session import applied
    from headrace.control.audit import AuditLine, telling_refusals

    with applied(config) as app:
        line = AuditLine(actor=me(), action="customer.move.cancel", detail={"move": move_id})
        with telling_refusals(app.audit, line):
            ended = app.moves.cancel(move_id, actor=me())
    if json:
        screen.print_json(move_as_json(ended))
    else:
        print_moves([ended])


def _asked(data_sources: SqlDataSources, group: str, names: Sequence[str]) -> Asked:
    """Each data source in its own schema."""
    from headrace.domain.assignment import Asked, Named
    from headrace.errors import ConfigurationError

    mapping: dict[str, Named] = {}
    for name in names:
        found = data_sources.named(name, within=group)
        if mapping.setdefault(found.schema, Named(id=found.id)) != Named(id=found.id):
            raise ConfigurationError(f"--data-source: two of schema {found.schema}: give one")
    return Asked(mapping=mapping)


def _checked(provided_id: str) -> str:
    from pydantic_core import PydanticCustomError

    from headrace.definition.values import check_text
    from headrace.errors import ConfigurationError

    try:
        return check_text(provided_id)
    except PydanticCustomError as error:
        raise ConfigurationError(f"the provided id {error.message()}") from None


def _object(text: str | None) -> dict[str, Any] | None:
    from headrace.errors import ConfigurationError

    if text is None:
        return None
    try:
        value = json_module.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "\\u0000" in text:
        raise ConfigurationError('--properties: write a JSON object, such as {"plan": "gold"}')
    return value
