"""The scalar values of definitions: ids, names, durations, cron lines, tables, queries."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf
from pydantic import WithJsonSchema as JsonSchema
from pydantic_core import PydanticCustomError

from headrace.definition.wording import suggestion
from headrace.domain.schedule import Duration

ID_PATTERN: Final = r"[a-z][a-z0-9_]{0,39}"
MAX_NAME_BYTES: Final = 63


class Body(BaseModel):
    """What every object of a definition obeys: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TopBody(Body):
    """One file's object: may say which JSON Schema an editor should check it by."""

    schema_uri: Annotated[
        str | None, Field(alias="$schema", description="The JSON Schema that an editor checks this file by.")
    ] = None


def fault(message: str) -> PydanticCustomError:
    """An error whose message reaches the person as it is (braces and all)."""
    return PydanticCustomError("headrace", "{message}", {"message": message})


def check_id(text: str) -> str:
    if re.fullmatch(ID_PATTERN, text):
        return text
    raise fault(f'"{text[:60]}" is no id; ids are a small letter, then up to 39 small letters, digits and _')


def check_text(text: str) -> str:
    if not text.strip():
        raise fault("is empty; give it a text")
    if not text.isprintable():
        raise fault("holds a character that cannot be printed; remove it")
    return text


def check_identifier(text: str) -> str:
    check_text(text)
    size = len(text.encode())
    if size > MAX_NAME_BYTES:
        raise fault(f"is {size} bytes long; databases take names of at most {MAX_NAME_BYTES}")
    return text


def check_property_name(text: str) -> str:
    check_identifier(text)
    if text.startswith("_"):
        raise fault(f'"{text}" begins with an underscore, which is reserved; give another name')
    return text


def _duration(value: Any, least: Duration) -> Duration:
    if isinstance(value, Duration):
        return value
    try:
        duration = Duration.parse(value) if isinstance(value, str) else None
    except ValueError:
        duration = None
    if duration is None:
        raise fault('is no duration; write an integer and a unit (ms, s, m, h, d), such as "30s"')
    if duration < least:
        raise fault(f"is shorter than {least}; write at least {least}")
    return duration


def check_cron(text: str) -> str:
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise fault(
            f"is no cron line ({str(error)[:1].lower()}{str(error)[1:]}); "
            'write five fields, such as "*/15 * * * *"'
        ) from None
    except StopIteration:
        raise fault("never comes; write a cron line with a date that exists") from None
    return text


def check_query(text: str) -> str:
    if not text.strip():
        raise fault("is empty; write one SELECT")
    if "\0" in text:
        raise fault("holds a NUL character; remove it")
    return text


def check_time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        meant = suggestion(text, available_timezones(), listed=False)
        mend = meant or '; write an IANA name, such as "Europe/Berlin"'
        raise fault(f'unknown time zone "{text[:60]}"{mend}') from None
    return text


def check_namespace(text: str) -> str:
    check_identifier(text)
    if text.lower().startswith("pg_") or text.lower() == "information_schema":
        raise fault(f'"{text}" belongs to the database; give another namespace, such as "headrace"')
    return text


_DURATION_SCHEMA: Final = JsonSchema({"type": "string", "pattern": r"^[0-9]{1,12}(ms|s|m|h|d)$"})


Id = Annotated[str, AfterValidator(check_id), Field(json_schema_extra={"pattern": f"^{ID_PATTERN}$"})]
Text = Annotated[str, AfterValidator(check_text)]
Identifier = Annotated[str, AfterValidator(check_identifier)]
PropertyName = Annotated[str, AfterValidator(check_property_name)]
Interval = Annotated[
    Duration, InstanceOf(), BeforeValidator(lambda v: _duration(v, Duration(1000))), _DURATION_SCHEMA
]
"""At least one second."""
Skew = Annotated[
    Duration, InstanceOf(), BeforeValidator(lambda v: _duration(v, Duration(1))), _DURATION_SCHEMA
]
Cron = Annotated[str, AfterValidator(check_cron)]
TimeZone = Annotated[str, AfterValidator(check_time_zone)]
Query = Annotated[str, AfterValidator(check_query)]
Namespace = Annotated[str, AfterValidator(check_namespace)]
