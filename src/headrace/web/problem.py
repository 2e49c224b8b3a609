"""Every error as a problem (RFC 9457) with a stable code: one table from refusals to statuses.

An answer says no more than its code and what its asker may know: errors of databases, drivers and our
own bugs are in the log, once, and never in the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace import logs
from headrace.domain.refusal import Refusal
from headrace.errors import ConfigurationError, DataSourceUnfitError, RefusedError, RetryableError

log = logs.get(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_URN: Final = "urn:headrace:problem:"
_RETRY_AFTER_S: Final = "retry_after_s"

STATUS: Final[Mapping[str, int]] = {
    Refusal.NO_DATA_SOURCE: 409,
    Refusal.DATA_SOURCE_UNAVAILABLE: 503,
    Refusal.DATA_SOURCE_CONFLICT: 422,
    Refusal.DATA_SOURCE_UNFIT: 422,
    Refusal.DATA_SOURCE_DEDICATED: 409,
    Refusal.DATA_SOURCE_IN_USE: 409,
    Refusal.DATA_SOURCE_EXISTS: 409,
    Refusal.CUSTOMER_EXISTS: 409,
    Refusal.CUSTOMER_HAS_RECORDS: 409,
    Refusal.CUSTOMER_HAS_CHILDREN: 409,
    Refusal.PARENT_UNFIT: 422,
    Refusal.MOVE_UNDER_WAY: 409,
    Refusal.MOVE_ENDED: 409,
    Refusal.OWNED_BY_CONFIG: 409,
    Refusal.SOURCE_PAUSED: 409,
    Refusal.NOT_FOUND: 404,
    Refusal.UNAUTHENTICATED: 401,
    Refusal.FORBIDDEN: 403,
    Refusal.INVALID: 422,
    Refusal.METHOD_NOT_ALLOWED: 405,
    Refusal.TOO_LARGE: 413,
    Refusal.TOO_MANY: 429,
    Refusal.HOST_REFUSED: 422,
    Refusal.CONNECTION_FAILED: 422,
    Refusal.UNAVAILABLE: 503,
    Refusal.INTERNAL: 500,
}

EVERYWHERE: Final = (
    Refusal.UNAUTHENTICATED,
    Refusal.FORBIDDEN,
    Refusal.NOT_FOUND,
    Refusal.TOO_LARGE,
    Refusal.INVALID,
    Refusal.TOO_MANY,
    Refusal.UNAVAILABLE,
    Refusal.INTERNAL,
)
"""What any operation of the API may answer."""

SCHEMA: Final[Mapping[str, Any]] = {
    "title": "Problem",
    "description": "RFC 9457. Programs decide by `code`; some codes have members of their own.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(STATUS)},
        "instance": {"type": "string"},
    },
    "additionalProperties": True,
}
"""Of `#/components/schemas/Problem`."""


def problems(*refusals: Refusal) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may be refused so, for the OpenAPI document."""
    codes: dict[int, list[str]] = {}
    for refusal in refusals:
        codes.setdefault(STATUS[refusal], []).append(refusal.value)
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in names)}",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, names in sorted(codes.items())
    }


def problem_response(error: Exception, *, instance: str) -> Response:
    """The answer to a request that ended in this error, which is logged if it is nobody's but ours.

    Args:
        instance: the path that was asked for.
    """
    refused = _refused(error)
    status = STATUS.get(refused.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    members = dict(refused.members)
    retry_after = members.pop(_RETRY_AFTER_S, None)
    body = {
        **members,
        "type": f"{_URN}{refused.code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": logs.scrubbed(refused.detail),
        "code": str(refused.code),
        "instance": instance,
    }
    headers = _headers(refused.code, error)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Response(json.dumps(body, default=str), status, headers, MEDIA_TYPE)


def _headers(code: str, error: Exception) -> dict[str, str]:
    if code == Refusal.UNAUTHENTICATED:
        return {"WWW-Authenticate": "Bearer"}
    if code == Refusal.METHOD_NOT_ALLOWED and isinstance(error, HTTPException) and error.headers:
        return {"Allow": error.headers.get("Allow", "")}
    return {}


def _refused(error: Exception) -> RefusedError:
    match error:
        case RefusedError():
            return error
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException():
            return _of_http(error)
        case RetryableError():
            log.warning("a request could not be served", kind=type(error).__name__, error=str(error))
            return RefusedError(
                Refusal.UNAVAILABLE,
                "a database that the answer needs cannot be reached now: try again later",
                **{_RETRY_AFTER_S: 1},
            )
        case DataSourceUnfitError():
            log.error("a data source cannot serve", error=str(error))
            return RefusedError(
                Refusal.DATA_SOURCE_UNAVAILABLE,
                "the data source is not what it was: whoever runs this installation finds why in its log",
            )
        case ConfigurationError():
            log.error("a request could not be served", kind=type(error).__name__, error=str(error))
            return RefusedError(
                Refusal.UNAVAILABLE,
                "this installation is not set up for it: whoever runs it finds why in its log",
            )
        case _:
            log.error("a request ended in a bug", kind=type(error).__name__, exc_info=error)
            return RefusedError(Refusal.INTERNAL, "an error of Headrace, which its log tells")


def _of_http(error: HTTPException) -> RefusedError:
    """Of the framework's own errors: no such path, another method, a body that cannot be read."""
    if isinstance(error.__cause__, RefusedError):  # of the body's reader, which the framework wraps
        return error.__cause__
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return RefusedError(Refusal.NOT_FOUND, "there is nothing at this path")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return RefusedError(Refusal.METHOD_NOT_ALLOWED, "this path does not know this method")
        case _:
            return RefusedError(Refusal.INVALID, "the request cannot be read")


def _invalid(errors: Sequence[Any]) -> RefusedError:
    """All faults with their place; never what was sent, which may be a secret."""
    faults = [
        {"at": ".".join(str(part) for part in fault["loc"]), "message": _message(fault)} for fault in errors
    ]
    first = faults[0] if faults else {"at": "body", "message": "is not as it should be"}
    return RefusedError(Refusal.INVALID, f"{first['at']}: {first['message']}", errors=faults)


def _message(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "model_attributes_type" and tuple(fault["loc"]) == ("body",):
        return "is no JSON object, or was not sent with Content-Type: application/json"
    return str(fault["msg"]).removeprefix("Value error, ")
