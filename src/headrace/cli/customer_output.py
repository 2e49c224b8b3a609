"""Customers, their moves, and whom a change would lead elsewhere, as commands print them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.control.customer_view import CustomerView
    from headrace.control.impact import Impact
    from headrace.control.moves import Move


def print_impact(impact: Impact, *, as_json: bool) -> None:
    """Who would be led elsewhere."""
    from headrace.cli import screen

    if as_json:
        screen.print_json(impact_as_json(impact))
        return
    screen.print_line(
        f"{impact.changing:,} led elsewhere at once, {impact.staying:,} with records stay"
        + (f"; {impact.held:,} have records and would have to move first: refused" if impact.held else "")
        + "."
    )
    if impact.led:
        names = ("group", "customer", "schema", "from", "to", "has records")
        rows = [
            (one.visibility_group, one.customer, one.schema, one.before, one.after, one.has_records)
            for one in impact.led
        ]
        screen.print_table([screen.Column(name) for name in names], rows)


def impact_as_json(impact: Impact) -> dict[str, Any]:
    return {
        "changing": impact.changing,
        "held": impact.held,
        "staying": impact.staying,
        "customers": [
            {
                "group": one.visibility_group,
                "customer": one.customer,
                "schema": one.schema,
                "from": one.before,
                "to": one.after,
                "has_records": one.has_records,
            }
            for one in impact.led
        ],
    }


def print_moves(found: Sequence[Move]) -> None:
    """Moves, a line each."""
    from headrace.cli import screen

    columns = [screen.Column(n) for n in ("move", "customer", "schema", "from", "to", "state")]
    columns += [screen.Column("feeds read", right=True), screen.Column("rows", right=True)]
    rows = [
        (
            m.id,
            m.customer,
            m.schema,
            m.source,
            m.target,
            m.state.value,
            f"{m.feeds_done}/{m.feeds}",
            f"{m.rows:,}",
        )
        for m in found
    ]
    screen.print_table(columns, rows)


def move_as_json(move: Move) -> dict[str, Any]:
    return {
        "move": move.id,
        "customer": move.customer,
        "schema": move.schema,
        "from": move.source,
        "to": move.target,
        "state": move.state.value,
        "started_at": move.started_at,
        "ended_at": move.ended_at,
        "feeds": move.feeds,
        "feeds_done": move.feeds_done,
        "rows": move.rows,
    }


def as_json(view: CustomerView) -> dict[str, Any]:
    return {
        "id": view.id,
        "customer": view.provided_id,
        "group": view.visibility_group,
        "name": view.name,
        "parent": view.parent_provided_id,
        "properties": dict(view.properties),
        "origin": view.origin,
        "made_at": view.made_at,
        "mapping": {schema: place.id for schema, place in view.mapping.items()},
        "pinned": view.pinned,
        "computed_mapping": {
            schema: None if place is None else place.id for schema, place in view.computed_mapping.items()
        },
        "via": {schema: None if via is None else via.value for schema, via in view.via.items()},
    }


def print_customer(view: CustomerView, *, as_json_: bool) -> None:
    """A customer, a line for each thing that is known of it."""
    from headrace.cli import screen

    if as_json_:
        screen.print_json(as_json(view))
        return
    shown = (
        ("customer", view.provided_id),
        ("id", view.id),
        ("group", view.visibility_group),
        ("name", view.name),
        ("parent", view.parent_provided_id),
        ("made by", {"config": "a file", "api": "a command or the API", "row": "a row"}[view.origin]),
        *(("properties", dict(view.properties)) for _ in range(bool(view.properties))),
        *((schema, placed(view, schema)) for schema in view.computed_mapping),
    )
    screen.print_table([screen.Column("what"), screen.Column("is")], shown)


def placed(view: CustomerView, schema: str) -> str | None:
    """The data source and why: `eu (own)`."""
    place, via = view.computed_mapping.get(schema), view.via.get(schema)
    if via is None:
        return None
    why = "pinned default" if schema in view.pinned else via.value
    return f"{'none that serves' if place is None else place.id} ({why})"
