"""`headrace doctor`: everything that is connected, asked once, with how to mend what is not well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headrace.cli.options import Config, Json
from headrace.domain.finding import Finding, Severity

if TYPE_CHECKING:
    from rich.text import Text

_STYLES: Final = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


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
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Ask everything that is connected how it is, and how to mend what is not well. Changes nothing.

    Example: headrace doctor --json
    """
    if prove_isolation:
        from headrace.cli.prove_isolation import prove

        raise typer.Exit(prove(config, as_json=json))
    from headrace.cli import screen
    from headrace.cli.examination import examine
    from headrace.cli.session import settings_for

    findings = examine(settings_for(config))
    if json:
        screen.print_json([_as_json(finding) for finding in findings])
    else:
        _print(findings)
    raise typer.Exit(_exit_code(findings, strict=strict))


def _exit_code(findings: Sequence[Finding], *, strict: bool) -> int:
    from headrace.cli.exit_code import DONE, FAILED, MISUSED
    from headrace.errors import ErrorCode

    wrong = {f.code for f in findings if f.severity is Severity.ERROR}
    if wrong & {ErrorCode.DEFINITION_INVALID, ErrorCode.SECRET_MISSING}:
        return MISUSED
    return FAILED if wrong or (strict and any(f.severity is not Severity.OK for f in findings)) else DONE


def _as_json(finding: Finding) -> dict[str, str | None]:
    return {
        "severity": finding.severity,
        "code": finding.code or None,
        "where": finding.where,
        "what": finding.what,
        "remedy": finding.remedy or None,
    }


def _print(findings: Sequence[Finding]) -> None:
    """A line each; below, what to do about it."""
    from headrace.cli import screen
    from headrace.logs import scrubbed

    indent = " " * (max(len(severity) for severity in Severity) + 2)
    for finding in findings:
        code = f" [{finding.code}]" if finding.code else ""
        if sys.stdout.isatty():
            screen.console().print(_styled(finding))
        else:
            head = finding.severity.ljust(len(indent))
            screen.print_line(scrubbed(f"{head}{finding.where}: {finding.what}{code}"), markup=False)
            if finding.remedy:
                screen.print_line(scrubbed(f"{indent}{finding.remedy}"), markup=False)
    counts = [
        (Severity.ERROR, "error"),
        (Severity.WARNING, "warning"),
    ]
    told = [
        screen.counted(number, word)
        for severity, word in counts
        if (number := sum(f.severity is severity for f in findings))
    ]
    screen.print_line(f"\n{' and '.join(told) or 'All is well'}, of {len(findings)} findings.")


def _styled(finding: Finding) -> Text:
    from rich.text import Text

    from headrace.logs import scrubbed

    width = max(len(severity) for severity in Severity) + 2
    line = Text.assemble(
        (finding.severity.ljust(width), _STYLES[finding.severity]),
        (scrubbed(finding.where), "bold"),
        f": {scrubbed(finding.what)}",
        (f" [{finding.code}]" if finding.code else "", "dim"),
        (f"\n{' ' * width}→ {scrubbed(finding.remedy)}" if finding.remedy else "", "cyan"),
    )
    line.overflow = "fold"
    return line
