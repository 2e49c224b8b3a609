"""Secrets of definitions: references that are resolved late, and texts that never show themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from headrace.errors import ConfigurationError

_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE: Final = "file:"
_OPEN_SCHEMES: Final = ("sqlite:", "file:")


class SecretText:
    """A URL as it was written, references unresolved. `str` and `repr` show references, the scheme, and
    the path of a file, and nothing else: it may be logged."""

    __slots__ = ("template",)

    def __init__(self, template: str) -> None:
        self.template = template

    def __str__(self) -> str:
        if self.template.startswith(_OPEN_SCHEMES) or _REFERENCE.fullmatch(self.template):
            return self.template
        scheme, separator, _ = self.template.partition("://")
        return f"{scheme}://***" if separator and scheme.isalnum() else "***"

    def __repr__(self) -> str:
        return f"SecretText({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and other.template == self.template

    def __hash__(self) -> int:
        return hash(self.template)

    def resolve(self, environ: Mapping[str, str]) -> str:
        """See `resolve`."""
        return resolve(self.template, environ)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(min_length=1),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda s: s.template),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "minLength": 1}


def secret_faults(template: str, environ: Mapping[str, str]) -> list[str]:
    """What is wrong with each reference of a text, by its name and never by a value; empty if nothing."""
    faults: list[str] = []
    _substitute(template, environ, faults.append)
    if "${" in _REFERENCE.sub("", template):
        faults.append('a secret reference is not closed; write "${NAME}" or "${file:/path}"')
    return faults


def resolve(template: str, environ: Mapping[str, str]) -> str:
    """The text with `${NAME}` and `${file:/path}` replaced by their values, now.

    A file's value is its content without the line end at its end. Values are not searched for
    references again.

    Raises:
        ConfigurationError: references that lead nowhere, named; never a value.
    """
    faults = secret_faults(template, environ)
    if faults:
        raise ConfigurationError(*faults)
    return _substitute(template, environ, lambda _: None)


def _substitute(template: str, environ: Mapping[str, str], complain: Callable[[str], None]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name.startswith(_FILE):
            return _file_value(name.removeprefix(_FILE), complain)
        if not _NAME.fullmatch(name):
            complain(f'"${{{name}}}" is no secret reference; write "${{NAME}}" or "${{file:/path}}"')
        elif name not in environ:
            complain(f"the environment variable {name} is not set; set it, or name another one")
        elif not environ[name]:
            complain(f"the environment variable {name} is empty; give it a value")
        return environ.get(name, "")

    return _REFERENCE.sub(value, template)


def _file_value(path: str, complain: Callable[[str], None]) -> str:
    try:
        content = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        complain(f"the secret file {path} cannot be read: {reason}")
        return ""
    if not content:
        complain(f"the secret file {path} is empty")
    return content
