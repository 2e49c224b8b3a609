"""`headrace doctor --prove-isolation`: what was written and read in each data source, and what leaked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from headrace.cli.exit_code import FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from workers.prove_isolation import DataSourceProof, Proof


def prove(config: Path | None, *, as_json: bool) -> int:
    """The marker check is done and told; gives the exit code."""
    from headrace.cli import screen
    from headrace.cli.session import applied
    from workers.prove_isolation import prove_isolation

    with applied(config) as app:
        proof = prove_isolation(app)
    if as_json:
        screen.print_json({"holds": proof.holds, **asdict(proof)})
    else:
        for line in _lines(proof):
            screen.print_line(line, markup=False)
    return 0 if proof.holds else FAILED


def _lines(proof: Proof) -> list[str]:
    from headrace.cli.screen import counted
    from headrace.logs import scrubbed

    lines = [scrubbed(f"data source {found.data_source_id}: {_told(found)}") for found in proof.data_sources]
    if proof.leftovers:
        lines.append(f"An interrupted check had left {counted(proof.leftovers, 'customer')}: removed.")
    lines += [scrubbed(f"LEAK  {leak}") for leak in proof.leaks]
    if not proof.over_http:
        lines.append("The customers' API was not asked: without HEADRACE_SECRET_KEYS it serves nobody.")
    answers = sum(found.answers for found in proof.data_sources)
    if proof.holds:
        lines.append(
            f"Of {counted(answers, 'answer')} each held what is the customer's own, and nothing else."
        )
    else:
        lines.append("Isolation is not proved: see above.")
    return lines


def _told(found: DataSourceProof) -> str:
    from headrace.cli.screen import counted

    if found.left_out is not None:
        return f"left out: {found.left_out}"
    end = (
        "everything of it is removed"
        if found.cleaned_up
        else "some of it could not be removed: run this again when the data source answers"
    )
    return (
        f"wrote records of {counted(found.probes, 'made-up customer')} in tables of its own, searched"
        f" {counted(found.answers, 'answer')}; {end}"
    )
