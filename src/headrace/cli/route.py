"""`headrace route explain`: where a customer's records are, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.group import CustomerName, Group
from headrace.cli.options import Config, Json

commands = typer.Typer(help="Where customers' records are.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="route", rich_help_panel="Look")


@commands.command()
def explain(
    customer: CustomerName,
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="The schema.")],
    group: Group = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Explain, step by step, which data source has a customer's records of a schema. Exits with 1 for none.

    Example: headrace route explain acme shop
    """
    from headrace.cli import screen
    from headrace.cli.group import customer_name, group_of
    from headrace.cli.session import applied

    with applied(config) as app:
        name, route = app.customers.explain(group_of(app, group), customer_name(customer), schema)
    if json:
        screen.print_json(
            {
                "customer": name,
                "schema": schema,
                "data_source": route.data_source,
                "via": None if route.via is None else route.via.value,
                "bound_by": route.bound_by,
                "epoch": route.epoch,
                "moving_to": route.moving_to,
                "refusal": route.refusal or None,
                "trace": route.trace,
            }
        )
    else:
        for step in route.trace:
            screen.print_line(step, markup=False)
        screen.print_line(_answer(route.data_source, route.via, route.refusal), markup=False)
        if route.moving_to is not None:
            screen.print_line(f"It is being moved to {route.moving_to}.", markup=False)
    if route.data_source is None:
        raise typer.Exit(1)


def _answer(data_source: str | None, via: str | None, refusal: str) -> str:
    if data_source is None:
        return f"None: {refusal}. The next step is never asked instead."
    whose = {"own": "its own", "parent": "inherited from above", "default": "the default"}
    return f"{data_source}: {whose[str(via)]}."
