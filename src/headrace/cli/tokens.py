"""`headrace tokens`: who may ask the HTTP API, and the keys that sign customers' tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.control.tokens import Access
    from headrace.wiring import Application

commands = typer.Typer(
    help="Tokens of the HTTP API, and the keys of customers' tokens.", no_args_is_help=True
)
keys = typer.Typer(help="The keys that sign customers' tokens.", no_args_is_help=True)
commands.add_typer(keys, name="keys")

_Group = Annotated[str, typer.Option("--group", metavar="ID", help="The visibility group.")]
_OneGroup = Annotated[
    str | None, typer.Option("--group", metavar="ID", help="Of this visibility group alone.")
]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="tokens", rich_help_panel="Operate")


@commands.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, as people will know it by.")],
    group: _Group,
    write: Annotated[bool, typer.Option("--write", help="It may change things too.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make an API token of a visibility group. Its text is printed this once, and kept nowhere.

    Example: headrace tokens create backend --group production --write
    """
    from headrace.cli import screen
    from headrace.cli.session import applied

    with applied(config) as app:
        _check_group(app, group)
        access: Access = "write" if write else "read"
        made = app.tokens.create(name, visibility_group=group, access=access, actor=_me())
    if json:
        screen.print_json({"id": made.token.id, "group": group, "access": access, "token": made.text})
        return
    what = f"{made.token.id}: {access}s in {group}."
    typer.echo(f"{what} This is shown once; keep it where secrets are kept:", err=True)
    screen.print_line(made.text, markup=False)


@commands.command("list")
def list_tokens(config: Config = None, json: Json = False) -> None:
    """List API tokens, the revoked too; never their text.

    Example: headrace tokens list
    """
    from headrace.cli import screen
    from headrace.cli.session import application

    with application(config) as app:
        found = app.tokens.list()
    names = ("id", "name", "group", "access", "made_at", "last_used_at", "revoked_at")
    rows = [
        (t.id, t.name, t.visibility_group, t.access, t.made_at, t.last_used_at, t.revoked_at) for t in found
    ]
    if json:
        screen.print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        screen.print_table([screen.Column(name.replace("_", " ")) for name in names], rows)
    else:
        screen.print_line("There are no tokens yet: `headrace tokens create` makes one.")


@commands.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `tokens list` has it.")],
    config: Config = None,
) -> None:
    """Void an API token: running servers refuse it within a second.

    Example: headrace tokens revoke 5f0c9a6b1e2d
    """
    from headrace.cli import screen
    from headrace.cli.session import application

    with application(config) as app:
        app.tokens.revoke(token, actor=_me())
    screen.print_line(f"{token}: revoked.", markup=False)


@commands.command()
def reseal(config: Config = None) -> None:
    """Seal every secret of the control database with the first of HEADRACE_SECRET_KEYS.

    To change the key: put the new one before the old one and start the processes anew; run this; then take
    the old one out.

    Example: headrace tokens reseal
    """
    from headrace.cli import screen
    from headrace.cli.session import application
    from headrace.control.vault import reseal as reseal_all

    with application(config) as app:
        sealed = reseal_all(app.engine, app.vault)
    screen.print_line(f"{screen.counted(sealed, 'secret')} sealed with the first key.")


@keys.command("list")
def list_keys(group: _OneGroup = None, config: Config = None, json: Json = False) -> None:
    """List signing keys, the revoked too; never their secret.

    Example: headrace tokens keys list --group production
    """
    from headrace.cli import screen
    from headrace.cli.session import application

    with application(config) as app:
        found = app.signing_keys.list(group)
    names = ("kid", "group", "algorithm", "state", "made_at")
    rows = [(k.id, k.visibility_group, k.algorithm, k.state, k.made_at) for k in found]
    if json:
        screen.print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        screen.print_table([screen.Column(name.replace("_", " ")) for name in names], rows)


@keys.command()
def rotate(group: _Group, config: Config = None) -> None:
    """Sign customers' tokens with a new key. Those of the one before stay good until they expire.

    Example: headrace tokens keys rotate --group production
    """
    from headrace.cli import screen
    from headrace.cli.session import applied

    with applied(config) as app:
        _check_group(app, group)
        key = app.signing_keys.rotate(group, actor=_me())
    screen.print_line(f"{key.id}: signs in {group} from now on.", markup=False)


@keys.command("revoke")
def revoke_key(
    kid: Annotated[str, typer.Argument(metavar="KID", help="Its id, as `tokens keys list` has it.")],
    config: Config = None,
) -> None:
    """Void a signing key, and every customer's token that it signed.

    Example: headrace tokens keys revoke 0f45a9f6041f10e1
    """
    from headrace.cli import screen
    from headrace.cli.session import application

    with application(config) as app:
        key = app.signing_keys.revoke(kid, actor=_me())
    screen.print_line(f"{key.id}: revoked.", markup=False)


def _check_group(app: Application, group: str) -> None:
    from headrace.cli.session import named

    known = {id_: id_ for kind, id_ in app.catalogue().bodies if kind == "visibility_groups"}
    named(known, group, word="visibility group", directory="the applied definitions")


def _me() -> str:
    """The actor of the audit."""
    import getpass

    from headrace.control.audit import BY_CLI

    return f"{BY_CLI}{getpass.getuser()}"
