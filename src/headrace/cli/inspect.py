"""`headrace records` and `headrace explain`: merged records, and where each value comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.cli.explanation import ExplainedProperty, Explanation
    from headrace.cli.rows_behind import RowBehind
    from headrace.wiring import Application

SHOWN_RECORDS: Final = 50
_ALL: Final = 2**31 - 1

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The id of a model: config/models/<id>.json.")]
Customer = Annotated[
    str | None, typer.Option("--customer", metavar="ID", help="Of the customer with this provided_id alone.")
]


def register(app: typer.Typer) -> None:
    panel = "Look"
    app.command(rich_help_panel=panel)(records)
    app.command(rich_help_panel=panel)(explain)


def records(
    model: Model,
    key: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="The parts of one key.")] = None,
    customer: Customer = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Records to show, at most.", show_default=f"{SHOWN_RECORDS}; all with --json"
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show merged records of a model, from every data source that holds some.

    Example: headrace records users 7 --customer acme
    """
    from headrace.cli import screen
    from headrace.cli.record import find_records, when
    from headrace.cli.session import applied, named

    most = limit or (_ALL if json else SHOWN_RECORDS)
    with applied(config) as app:
        shape = named(app.catalogue().models, model, word="model", directory="the applied definitions")
        _check_customer(app, customer)
        found = find_records(app, shape, key=key or (), customer=customer, limit=most if json else most + 1)
    if json:
        screen.print_json([record.values for record in found])
    if not found:
        of = f" of customer {customer}" if customer else ""
        if not json:
            screen.print_line("There is no such record." if key else f"There are no {model}{of} yet.")
        raise typer.Exit(1 if key else 0)
    if json:
        return
    names = ["_customer_id", *(column.name for column in shape.columns)]
    names += ["_updated_at"] + (["_invalid"] if any(r.values["_invalid"] for r in found) else [])
    rows = [[r.data_source, *(when(r.values[name]) for name in names)] for r in found[:most]]
    screen.print_blocks_if_wide(
        [screen.Column("data source"), *(screen.Column(name) for name in names)], rows
    )
    if len(found) > most:
        screen.print_line(f"The first {most} are shown; --limit shows more, --json all.")


def explain(
    model: Model,
    key: Annotated[list[str], typer.Argument(metavar="KEY", help="The parts of the record's key.")],
    customer: Customer = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show where each value of a record comes from: source, aggregation, the rows behind it, the last run.

    Example: headrace explain users 7
    """
    from headrace.cli import screen
    from headrace.cli.explanation import explain_record
    from headrace.cli.record import find_records
    from headrace.cli.session import applied, named

    with applied(config) as app:
        shape = named(app.catalogue().models, model, word="model", directory="the applied definitions")
        _check_customer(app, customer)
        found = find_records(app, shape, key=key, customer=customer, limit=_ALL)
        explained = [explain_record(app, shape, record) for record in found]
    if json:
        screen.print_json([one.as_json() for one in explained])
    elif not explained:
        screen.print_line("There is no such record.")
    for one in explained if not json else ():
        _print_explanation(one)
    if not explained:
        raise typer.Exit(1)


def _check_customer(app: Application, customer: str | None) -> None:
    """Raises ConfigurationError for a customer that nobody has defined and no row has named."""
    from headrace.definition.wording import suggestion
    from headrace.errors import ConfigurationError, ErrorCode

    known = () if customer is None else app.status.customers()
    if customer is not None and customer not in known:
        meant = suggestion(customer, known, listed=False)
        raise ConfigurationError(f'there is no customer "{customer}"{meant}', code=ErrorCode.NAME_UNKNOWN)


def _print_explanation(explained: Explanation) -> None:
    from headrace.cli import screen

    key = " ".join(explained.key)
    screen.print_line(
        f"[bold]{explained.model} {key}[/], customer [bold]{explained.customer}[/], "
        f"in data source [bold]{explained.data_source}[/]\n"
    )
    columns = [screen.Column(name) for name in ("property", "value", "source", "from")]
    rows = [(p.name, p.value, p.source, p.made_of) for p in explained.properties]
    screen.print_table(columns, rows)
    for p in explained.properties:
        if p.invalid:
            screen.print_line(_invalid_line(p), markup=False)
    for source in explained.sources:
        screen.print_line(f"\n[bold]{source.id}[/]: {source.summary}")
        if source.rows:
            names = list(source.rows[0].values)
            cells: list[list[Any]] = [[_shown(row, name) for name in names] for row in source.rows]
            screen.print_table([screen.Column(name) for name in names], cells)
            if source.more:
                screen.print_line("… and more")


def _invalid_line(explained: ExplainedProperty) -> str:
    """Why a value is null, or lacks some of its rows."""
    from headrace.cli.screen import counted

    why = f'"{explained.invalid["value"]}" {explained.invalid["reason"]}'
    if not explained.invalid_rows:
        return f"! {explained.name}: {why}, so it is null"
    rows = counted(explained.invalid_rows, "row")
    return f"! {explained.name}: in {rows} behind it the value does not fit, and counts as null: {why}"


def _shown(row: RowBehind, column: str) -> Any:
    """What a value is, or what the source has where nothing fits."""
    value = row.values[column]
    return f"{row.invalid[column]} (invalid)" if value is None and column in row.invalid else value
