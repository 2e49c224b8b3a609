"""When transactions began, of a server that tells only when they first touched a row.

A statement takes its time when it starts, and may then wait for as long as others lock its table: what the
server calls the start of a transaction can be long after the time that its first row bears. Two looks bound
it. Whoever was not among the transactions of the first either ran its statement then, and that was seen
with its start, or began it after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at a server showed, and what follows from those before it.

    Attributes:
        at: the server's clock before anything was looked at.
        statements: by session, no later than the start of the statement that it ran.
        transactions: by name, no later than the start of the first statement that touched a row in it. A
            name is that of the session, a slash, and when the server says that it began.
    """

    at: datetime
    statements: Mapping[str, datetime]
    transactions: Mapping[str, datetime]

    def began(self, transaction: str) -> datetime:
        """No later than the first statement of a transaction that a later look shows.

        One that is known keeps what it had. One that is not counts from the statement that its session ran
        at this look, else from this look: never from what the server says, nor from an older look or fence,
        which under steady load would hold for ever.
        """
        session = transaction.partition("/")[0]
        new = min(self.at, self.statements.get(session, self.at))
        return self.transactions.get(transaction, new)

    def set_back(self, by: timedelta) -> Look:
        """The same in the terms of a clock that was set back."""
        return Look(
            at=self.at - by,
            statements={name: began - by for name, began in self.statements.items()},
            transactions={name: began - by for name, began in self.transactions.items()},
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "statements": _by_moment(self.statements),
            "transactions": _by_moment(self.transactions),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Look:
        return cls(
            at=datetime.fromisoformat(kept["at"]),
            statements=_by_name(kept["statements"]),
            transactions=_by_name(kept["transactions"]),
        )


def known_starts(running: Collection[str], before: Look | None, held: Collection[str]) -> dict[str, datetime]:
    """By name, the starts of those running transactions of which there is one.

    Args:
        before: the look before; without one nothing is known of whoever runs.
        held: those that no look bounds, for they ran at the first one: they are left out until they end.
    """
    if before is None:
        return {}
    return {name: before.began(name) for name in running if name not in held}


def _by_moment(moments: Mapping[str, datetime]) -> dict[str, str]:
    """Many share a moment, that of the look before: it is kept once."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, moment in sorted(moments.items()):
        names[moment.isoformat()].append(name)
    return {moment: " ".join(sharing) for moment, sharing in names.items()}


def _by_name(kept: Mapping[str, str]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(moment) for moment, names in kept.items() for name in names.split()}
