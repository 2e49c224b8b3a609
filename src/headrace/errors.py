"""Every error that Headrace raises, grouped by what recovers from it.

Adapters translate driver errors into these, `from` their cause and without secrets; steps and
processes decide by the group alone. An expected outcome (nothing due, page empty) is a return value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class HeadraceError(Exception):
    """The root: catch it at the edge of a process, never inside a step."""


class RetryableError(HeadraceError):
    """The same work may succeed later, unchanged; an attempt that ended so is given back."""


class SourceUnavailableError(RetryableError):
    """The source database cannot be reached, timed out, or refused for now."""


class RelationUnavailableError(SourceUnavailableError):
    """What a source reads is not there now, or not whole; whatever else is in its app may be."""


class StoreUnavailableError(RetryableError):
    """The data source cannot be reached, timed out, is full, or refused for now."""


class ControlUnavailableError(RetryableError):
    """The control database cannot be reached or is locked."""


class BrokerUnavailableError(RetryableError):
    """The message broker cannot be reached; the sweeper nudges again later."""


class LeaseLostError(RetryableError):
    """Another worker has taken over the feed: whoever sees this must write nothing more."""


class RoutingChangedError(RetryableError):
    """Routing changed after the page was resolved: resolve the page again."""


class RouteMovedError(RetryableError):
    """The customer's records left this data source after the route was resolved: resolve it again.

    Attributes:
        epoch: routing's version since which they are elsewhere.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__("the customer is moved again and again: try later")


class DataRejectedError(HeadraceError):
    """Rows that the store refuses whatever is tried: they are set aside with this reason."""


class SourceDriftError(HeadraceError):
    """The source no longer fits its definition (missing column, changed type): that feed stops."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a definition: where it is, what is wrong and what would be right."""

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.path}" if self.path else self.file
        return f"{where}: {self.message}"


class ConfigurationError(HeadraceError):
    """Definitions or settings that a person must mend; carries all faults at once."""

    def __init__(self, *faults: Fault | str) -> None:
        self.faults = tuple(f if isinstance(f, Fault) else Fault("", "", f) for f in faults)
        super().__init__("\n".join(str(f).removeprefix(": ") for f in self.faults))


class DataSourceUnfitError(ConfigurationError):
    """What a data source's URL leads to is not what was applied: the stamp there is another's, or none.
    Nothing is read or written there until somebody mends it; all other data sources go on."""


class DataSourceDriftedError(DataSourceUnfitError):
    """A model's tables lack a part that was applied: no merge and no read of that model there until
    `headrace apply` has mended it.

    Attributes:
        model: its id.
        lacking: each part that is missing or of another type.
    """

    def __init__(self, data_source_id: str, model: str, lacking: tuple[str, ...]) -> None:
        self.data_source_id, self.model, self.lacking = data_source_id, model, lacking
        super().__init__(
            f"data source {data_source_id} is drifted: of model {model}, {'; '.join(lacking)}. Run"
            " `headrace apply`: what was lost is read again"
        )


class RefusedError(HeadraceError):
    """What somebody asked for breaks a rule: told to them, logged at most as a line of the audit.

    Attributes:
        code: stable, from a closed list (`domain.refusal`): programs decide by it.
        detail: for a person: what is wrong and what would be right; names nothing that the asker may not see.
        members: more that a program may want, as JSON values (`{"bound": [...]}`).
        audited: the audit has a line of it.
    """

    def __init__(self, code: str, detail: str, **members: Any) -> None:
        self.code, self.detail, self.members = code, detail, members
        self.audited = False
        super().__init__(detail)


class InvariantError(HeadraceError):
    """A bug of Headrace: something that its constraints rule out was seen. Loud, never retried."""
