"""Every error that Headrace raises, grouped by what recovers from it.

Adapters translate driver errors into these, `from` their cause and without secrets; steps and
processes decide by the group alone. An expected outcome (nothing due, page empty) is a return value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class ErrorCode(StrEnum):
    """What went wrong, for programs and `headrace explain-error`: stable, with a page each in docs/errors.

    Requests that are refused (`domain.refusal`), rejected rows (`domain.events`) and what `headrace doctor`
    finds (`domain.finding`) have codes of the same kind; one that two vocabularies share means the same.
    """

    # definitions, settings, usage
    DEFINITION_INVALID = "definition_invalid"
    SETTING_INVALID = "setting_invalid"
    CONFIGURATION_INVALID = "configuration_invalid"
    SECRET_MISSING = "secret_missing"  # noqa: S105
    NOTHING_APPLIED = "nothing_applied"
    NAME_UNKNOWN = "name_unknown"
    # sources
    SOURCE_UNAVAILABLE = "source_unavailable"
    SOURCE_LOGIN_REFUSED = "source_login_refused"
    SOURCE_URL_INVALID = "source_url_invalid"
    SOURCE_FILE_UNUSABLE = "source_file_unusable"
    SOURCE_RIGHTS_MISSING = "source_rights_missing"
    SOURCE_DRIFTED = "source_drifted"
    SOURCE_PAUSED = "source_paused"
    TABLE_MISSING = "table_missing"
    COLUMN_MISSING = "column_missing"
    # data sources
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_MISCONFIGURED = "store_misconfigured"
    DATA_SOURCE_FOREIGN = "data_source_foreign"
    DATA_SOURCE_DRIFTED = "data_source_drifted"
    BATCH_REFUSED = "batch_refused"
    # the control database and its backups
    CONTROL_UNAVAILABLE = "control_unavailable"
    CONTROL_URL_INVALID = "control_url_invalid"
    CONTROL_BEHIND = "control_behind"
    CONTROL_NEWER = "control_newer"
    CONTROL_NOT_EMPTY = "control_not_empty"
    BACKUP_EXISTS = "backup_exists"
    BACKUP_DAMAGED = "backup_damaged"
    BACKUP_NEWER = "backup_newer"
    BACKUP_FOREIGN = "backup_foreign"
    SEALED_SECRET_CLOSED = "sealed_secret_closed"  # noqa: S105
    # the broker
    BROKER_UNAVAILABLE = "broker_unavailable"
    BROKER_LOGIN_REFUSED = "broker_login_refused"
    BROKER_EVICTS = "broker_evicts"
    # what passes by itself
    LEASE_LOST = "lease_lost"
    ROUTING_CHANGED = "routing_changed"
    # the rest
    FAILED = "failed"
    INTERNAL = "internal_error"


class HeadraceError(Exception):
    """The root: catch it at the edge of a process, never inside a step.

    Attributes:
        code: of its class, unless whoever raises it knows better. Values are stable.
    """

    code: str = ErrorCode.FAILED

    def __init__(self, message: str = "", *, code: ErrorCode | None = None) -> None:
        if code is not None:
            self.code = code
        super().__init__(message)


class RetryableError(HeadraceError):
    """The same work may succeed later, unchanged; an attempt that ended so is given back."""


class SourceUnavailableError(RetryableError):
    """The source database cannot be reached, timed out, or refused for now."""

    code = ErrorCode.SOURCE_UNAVAILABLE


class RelationUnavailableError(SourceUnavailableError):
    """What a source reads is not there now, or not whole; whatever else is in its app may be."""


class StoreUnavailableError(RetryableError):
    """The data source cannot be reached, timed out, is full, or refused for now."""

    code = ErrorCode.STORE_UNAVAILABLE


class ControlUnavailableError(RetryableError):
    """The control database cannot be reached or is locked."""

    code = ErrorCode.CONTROL_UNAVAILABLE


class BrokerUnavailableError(RetryableError):
    """The message broker cannot be reached; the sweeper nudges again later."""

    code = ErrorCode.BROKER_UNAVAILABLE


class LeaseLostError(RetryableError):
    """Another worker has taken over the feed: whoever sees this must write nothing more."""

    code = ErrorCode.LEASE_LOST


class RoutingChangedError(RetryableError):
    """Routing changed after the page was resolved: resolve the page again."""

    code = ErrorCode.ROUTING_CHANGED


class RouteMovedError(RetryableError):
    """The customer's records left this data source after the route was resolved: resolve it again.

    Attributes:
        epoch: routing's version since which they are elsewhere.
    """

    code = ErrorCode.ROUTING_CHANGED

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__("the customer is moved again and again: try later")


class DataRejectedError(HeadraceError):
    """Rows that the store refuses whatever is tried: they are set aside with this reason."""

    code = ErrorCode.BATCH_REFUSED


class SourceDriftError(HeadraceError):
    """The source no longer fits its definition (missing column, changed type): that feed stops."""

    code = ErrorCode.SOURCE_DRIFTED


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a definition: where it is, what is wrong and what would be right.

    Attributes:
        given_code: where it is another one than that of its kind.
    """

    file: str
    path: str
    message: str
    given_code: str | None = None

    @property
    def code(self) -> str:
        if self.given_code is not None:
            return self.given_code
        if self.file.startswith("HEADRACE_"):
            return ErrorCode.SETTING_INVALID
        return ErrorCode.DEFINITION_INVALID if self.file else ErrorCode.CONFIGURATION_INVALID

    def __str__(self) -> str:
        where = f"{self.file}:{self.path}" if self.path else self.file
        return f"{where}: {self.message}"


class ConfigurationError(HeadraceError):
    """Definitions or settings that a person must mend; carries all faults at once."""

    code: str = ErrorCode.CONFIGURATION_INVALID

    def __init__(self, *faults: Fault | str, code: ErrorCode | None = None) -> None:
        own = code or (self.code if type(self) is not ConfigurationError else None)
        self.faults = tuple(f if isinstance(f, Fault) else Fault("", "", f, own) for f in faults)
        super().__init__("\n".join(str(f).removeprefix(": ") for f in self.faults))
        codes = {f.code for f in self.faults}
        if len(codes) == 1:
            (self.code,) = codes

    @property
    def lines(self) -> tuple[str, ...]:
        """Each fault with its code, as a person is told."""
        return tuple(f"{str(f).removeprefix(': ')} [{f.code}]" for f in self.faults)


class DataSourceUnfitError(ConfigurationError):
    """What a data source's URL leads to is not what was applied: the stamp there is another's, or none.
    Nothing is read or written there until somebody mends it; all other data sources go on."""

    code = ErrorCode.DATA_SOURCE_FOREIGN


class DataSourceDriftedError(DataSourceUnfitError):
    """A model's tables lack a part that was applied: no merge and no read of that model there until
    `headrace apply` has mended it.

    Attributes:
        model: its id.
        lacking: each part that is missing or of another type.
    """

    code = ErrorCode.DATA_SOURCE_DRIFTED

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

    code = ErrorCode.INTERNAL


_CODE: Final = re.compile(r" \[([a-z]+(?:_[a-z]+)*)\]$")


def with_code(error: HeadraceError) -> str:
    """The message with its code behind it, as it is kept where only a text is."""
    return f"{error} [{error.code}]"


def code_apart(text: str) -> tuple[str, str | None]:
    """What `with_code` put together; no code where there is none."""
    found = _CODE.search(text)
    return (text, None) if found is None else (text[: found.start()], found[1])
