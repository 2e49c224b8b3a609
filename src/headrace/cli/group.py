"""Which visibility group a command is about, and who runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.wiring import Application

Group = Annotated[
    str | None,
    typer.Option("--group", metavar="ID", help="The visibility group; implied when there is only one."),
]
CustomerName = Annotated[
    str, typer.Argument(metavar="CUSTOMER", help="Its provided id, or id: and the id that Headrace gave it.")
]
_BY_ID = "id:"


def group_of(app: Application, group: str | None) -> str:
    """The group that was named, or the only one.

    Raises:
        ConfigurationError: there is no such group, or none was named of several.
    """
    from headrace.cli.session import named
    from headrace.errors import ConfigurationError

    known = {id_: id_ for kind, id_ in app.catalogue().bodies if kind == "visibility_groups"}
    if group is not None:
        return named(known, group, word="visibility group", directory="the applied definitions")
    if len(known) != 1:
        raise ConfigurationError(f"--group: which visibility group? There are {', '.join(sorted(known))}")
    return next(iter(known))


def customer_name(name: str) -> str:
    """A customer's name on the command line, as the control database is asked for it."""
    return name.removeprefix(_BY_ID) if name.startswith(_BY_ID) else f"provided:{name}"


def me() -> str:
    """Who runs the command, as the audit names them."""
    import getpass

    return f"cli:{getpass.getuser()}"
