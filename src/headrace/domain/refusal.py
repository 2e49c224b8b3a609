"""Why a request is refused: stable codes, which the API tells as problems and `explain-error` explains."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """A rule that a request breaks."""

    # routing
    NO_DATA_SOURCE = "no_data_source_for_schema"
    """The customer has no data source of this schema: no binding, none above it, no default."""
    DATA_SOURCE_UNAVAILABLE = "data_source_unavailable"
    """The customer's data source is disabled, drifted, of another schema or group, or not what it was."""
    # assignment
    DATA_SOURCE_CONFLICT = "data_source_conflict"
    """Forms of assignment disagree, or name two data sources of one schema."""
    DATA_SOURCE_UNFIT = "data_source_unfit"
    """It is of another schema than it was named for, or serves as no default (dedicated, draining)."""
    DATA_SOURCE_DEDICATED = "data_source_dedicated"
    """It serves one customer alone, who is another."""
    DATA_SOURCE_IN_USE = "data_source_in_use"
    """Bindings, defaults, records or moves hold it."""
    DATA_SOURCE_EXISTS = "data_source_exists"
    CUSTOMER_EXISTS = "customer_exists_with_different_mapping"
    CUSTOMER_HAS_RECORDS = "customer_has_records"
    """The change would lead it away from its records: it says neither move nor switch_only."""
    CUSTOMER_HAS_CHILDREN = "customer_has_children"
    PARENT_UNFIT = "parent_unfit"
    """Unknown, of another group, below the customer, or more than three above it."""
    MOVE_UNDER_WAY = "move_under_way"
    MOVE_ENDED = "move_ended"
    OWNED_BY_CONFIG = "owned_by_config"
    """The config directory says what it is: change it there."""
    SOURCE_PAUSED = "source_paused"
    """No feed of the source is polled until somebody resumes it."""
    # finding
    NOT_FOUND = "not_found"
    """It does not exist, or is not the asker's: the same answer for both."""
    # access
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    """A read-only token asks for a change, or a browser for a customer's token."""
    # form
    INVALID = "invalid_request"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_LARGE = "request_too_large"
    TOO_MANY = "too_many_requests"
    HOST_REFUSED = "host_not_allowed"
    """The host, address or parameter of a connection is not on the list of what is allowed."""
    CONNECTION_FAILED = "connection_failed"
    """The data source could not be connected to as it was given."""
    UNAVAILABLE = "unavailable"
    """A database that the answer needs cannot be reached now: the same request may succeed later."""
    INTERNAL = "internal_error"
    """A bug of Headrace: its log tells more."""
