"""What a feed remembers of the database it reads, to notice that it is another one, or an older one.

A restored or failed over database may lack rows that were read, and have older versions of others, all
below the watermark: nothing but a comparison in full finds them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pydantic import ValidationError

from headrace.domain.shape import dump_json, load_json


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIdentity:
    """Which database answered, and how far it had come, at one moment.

    Attributes:
        database: differs for another database, whatever it holds.
        relation: differs for a table that was dropped and made anew; empty where there is no such thing.
        reads: the tables that a query reads, each by its name with what `relation` would be of it.
        branch: of the database's history: differs after a failover or a recovery to a point in time. None
            where it cannot be told (a standby).
        progress: grows with what is written and never goes back; None where it cannot be told.
        columns: by name, the number that its table gives to no other column; empty where there is none.
    """

    database: str
    relation: str = ""
    reads: tuple[tuple[str, str], ...] = ()
    branch: str | None = None
    progress: int | None = None
    columns: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSeen:
    """What is remembered.

    Attributes:
        notes: for a person: what is not as it was when the definitions were applied, and does not matter.
        restored: why the source, once restored or altered, is being compared in full; None when it is not.
    """

    identity: SourceIdentity | None = None
    notes: tuple[str, ...] = ()
    restored: str | None = None

    @classmethod
    def from_text(cls, text: str | None) -> SourceSeen:
        """What `as_text` wrote; nothing for None, and for what another version of Headrace wrote."""
        try:
            return cls() if text is None else load_json(cls, text)
        except ValidationError:
            return cls()

    def as_text(self) -> str:
        return dump_json(self)

    def with_identity(self, found: SourceIdentity | None) -> SourceSeen:
        """What is remembered once this was found: of what a standby cannot tell, what was known before."""
        known = self.identity
        if found is None or known is None or found.database != known.database:
            return replace(self, identity=found or known)
        branch = known.branch if found.branch is None else found.branch
        progress = known.progress if found.progress is None else found.progress
        return replace(self, identity=replace(found, branch=branch, progress=progress))


def why_restored(before: SourceIdentity | None, now: SourceIdentity | None) -> str | None:
    """Why rows that were read may be gone or older now; None when nothing says so."""
    if before is None or now is None:
        return None
    if now.database != before.database:
        return f"another database answers ({now.database}, it was {before.database})"
    if now.branch is not None and before.branch is not None and now.branch != before.branch:
        return f"the database failed over or was recovered (timeline {now.branch}, it was {before.branch})"
    if now.relation != before.relation:
        return "the table was dropped and made anew"
    if anew := sorted(name for name, of in now.reads if dict(before.reads).get(name, of) != of):
        return f"what the query reads was dropped and made anew ({', '.join(anew)})"
    if now.progress is not None and before.progress is not None and now.progress < before.progress:
        return f"the database went back (to {now.progress}, it was at {before.progress})"
    return None


def columns_made_anew(
    before: SourceIdentity | None, now: SourceIdentity | None, *, used: Collection[str]
) -> tuple[str, ...]:
    """Columns in use that are others than those of the same name before: added ones, whose values came with
    no change of a row, or renamed ones. Nothing when it is another table."""
    if before is None or now is None:
        return ()
    if (now.database, now.relation) != (before.database, before.relation):
        return ()
    known = dict(before.columns)
    return tuple(name for name, number in now.columns if name in used and known.get(name, number) != number)
