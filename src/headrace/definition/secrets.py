"""Secrets of definitions: references that are resolved late, and texts that never show themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from headrace.errors import ConfigurationError, ErrorCode

_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE: Final = "file:"
_OPEN_SCHEMES: Final = ("sqlite:", "file:")
_PASSWORD_OPTIONS: Final = frozenset({"password", "passwd", "sslpassword"})
_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9._~!$*,-]|%[0-9A-Fa-f]{2})*")
"""What means itself in a URL's user, password and options."""


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
    if _literal_password(template):
        faults.append('holds a password; put that into an environment variable, and write "${NAME}" here')
    return faults


def _literal_password(template: str) -> str:
    """The password of a URL that is written out, as far as it is; empty for a reference, or none."""
    if template.startswith(_OPEN_SCHEMES):
        return ""
    try:
        parts = urlsplit(_REFERENCE.sub("", template))
        options = dict(parse_qsl(parts.query))
    except ValueError:  # not a URL at all: its reader says so
        return ""
    return parts.password or "".join(options.get(name, "") for name in _PASSWORD_OPTIONS)


def url_fault(url: str) -> str | None:
    """Why a resolved URL would be read as another one than was meant; nothing of it is told."""
    before_options, _, _ = url.partition("?")
    _, separator, rest = before_options.partition("://")
    if not separator or url.startswith(_OPEN_SCHEMES):
        return None
    authority, _, path = rest.partition("/")
    if authority.count("@") > 1 or "#" in authority or ("@" in path and "@" not in authority):
        return (
            "the user or password in the URL has a character that means something else there: "
            "percent-encode it (@ is %40, / is %2F, : is %3A, # is %23, ? is %3F, % is %25)"
        )
    return None


def bare_name(template: str) -> str | None:
    """The name of a text that is `$NAME` as a whole, which shells would take for a reference."""
    name = template.removeprefix("$")
    return name if name != template and _NAME.fullmatch(name) else None


def resolve(template: str, environ: Mapping[str, str]) -> str:
    """The text with `${NAME}` and `${file:/path}` replaced by their values, now.

    A file's value is its content without the line end at its end. Values are not searched for
    references again. A user, password or option of a URL is percent-encoded unless it already is one
    that may stand there; a value that is the whole URL is taken as it is.

    Raises:
        ConfigurationError: references that lead nowhere, named, or a URL that cannot be meant so; never
            a value.
    """
    faults = secret_faults(template, environ)
    if faults:
        raise ConfigurationError(*faults, code=ErrorCode.SECRET_MISSING)
    resolved = _substitute(template, environ, lambda _: None)
    if fault := url_fault(resolved):
        raise ConfigurationError(fault)
    return resolved


def _substitute(template: str, environ: Mapping[str, str], complain: Callable[[str], None]) -> str:
    def replacement(match: re.Match[str]) -> str:
        text = value(match)
        fits = _ENCODED.fullmatch(text) or not _is_credential(template, match)
        return text if fits else quote(text, safe="")

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

    return _REFERENCE.sub(replacement, template)


def _is_credential(template: str, match: re.Match[str]) -> bool:
    """The reference stands where a URL has its user and password, or in its options."""
    if "://" not in template or template.startswith(_OPEN_SCHEMES):
        return False
    options = template.find("?")
    return match.end() <= template.rfind("@") or 0 <= options < match.start()


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
