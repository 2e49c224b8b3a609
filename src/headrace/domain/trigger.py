"""The message from outside that asks for a source to be read now: versioned, frozen, its JSON kept by golden
files (tests/unit/golden). A changed meaning is a new version, which an older Headrace refuses."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

MOST_KEYS: Final = 1000
MOST_BYTES: Final = 1024 * 1024
LONGEST_ID: Final = 40
_MOST_FAULTS: Final = 3


def _key_text(value: Any) -> Any:
    """A whole number as its text: a key's parts are texts, and JSON made by databases has numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


KeyPart = Annotated[
    str,
    BeforeValidator(_key_text, json_schema_input_type=str | int),
    Field(max_length=1000, pattern="^[^\\x00]*$"),
]
Id = Annotated[str, Field(max_length=LONGEST_ID, pattern="^[a-z][a-z0-9_]*$")]


class TriggerRequest(BaseModel):
    """What is to be read: all that has changed, or exactly these keys; from one app or all, for one customer
    or all."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    source: Id | None = Field(None, description="The source's id.")
    app: Id | None = Field(None, description="Read it from this app alone.")
    customer: Annotated[str, Field(min_length=1, max_length=255, pattern="^[^\\x00]*$")] | None = Field(
        None, description="A customer's `provided_id`: read only the apps that may have rows of it."
    )
    keys: Annotated[
        tuple[Annotated[tuple[KeyPart, ...], Field(strict=False)], ...] | None,
        Field(
            strict=False,
            min_length=1,
            max_length=MOST_KEYS,
            description="Keys as arrays of texts or whole numbers, in the order of the source's `key`; one "
            "that the source no longer has is deleted.",
        ),
    ] = None


class TriggerMessage(TriggerRequest):
    """The same as a message, which names its source itself."""

    source: Id


R = TypeVar("R", bound=TriggerRequest)


def parsed(body: bytes | str, kind: type[R]) -> R:
    """The request that a body of JSON is.

    Raises:
        RefusedError: it is too big, or none; the detail has no value of it.
    """
    if len(body) > MOST_BYTES:
        raise RefusedError(Refusal.TOO_LARGE, f"it is bigger than {MOST_BYTES} bytes")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
    except ValueError:  # what is no text to begin with
        faults = []
    told = "; ".join(_fault(fault["loc"], fault["msg"]) for fault in faults[:_MOST_FAULTS])
    raise RefusedError(Refusal.INVALID, told or "it is no JSON")


def _fault(location: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in location)
    return f"{where}: {message}" if where else message
