"""What a person writes in `config/webhooks/<id>.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from headrace.definition.models import Name
from headrace.definition.secrets import SecretText, bare_name, secret_faults
from headrace.definition.values import Id, Interval, TopBody, fault
from headrace.domain.schedule import Duration
from headrace.domain.topic_pattern import PATTERN
from headrace.domain.webhook_signature import PREFIX, key_of
from headrace.errors import Fault

_GIVE_UP_AFTER: Final = Duration.parse("24h")


def _pattern(text: str) -> str:
    if re.fullmatch(PATTERN, text):
        return text
    raise fault(
        f'"{text[:60]}" is no pattern of events; write <schema>.<model>.<created|updated|deleted>, with * for'
        ' any word and # for any number of them, such as "shop.users.*"'
    )


class Webhook(TopBody):
    """An endpoint of somebody's that record events are posted to."""

    name: Name
    url: Annotated[
        SecretText,
        Field(
            description='Where events are posted, https://…; secrets only as "${NAME}" or "${file:/path}".'
        ),
    ]
    secret: Annotated[
        SecretText,
        Field(
            description='Signs what is posted: "${NAME}", which holds whsec_ and 24 to 64 bytes in base64.'
        ),
    ]
    events: Annotated[
        tuple[Annotated[str, AfterValidator(_pattern)], ...],
        Field(
            min_length=1,
            description="Which events: patterns of <schema>.<model>.<created|updated|deleted>, with * for"
            " any word and # for any number of them; absent: all.",
        ),
    ] = ("#",)
    data_sources: Annotated[
        tuple[Id, ...] | None, Field(min_length=1, description="Of which data sources; absent: of all.")
    ] = None
    give_up_after: Annotated[
        Interval,
        Field(
            description="An event that the endpoint did not take for so long is set aside.",
            json_schema_extra={"default": str(_GIVE_UP_AFTER)},
        ),
    ] = _GIVE_UP_AFTER


def webhook_faults(file: str, webhook: Webhook, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Faults of the secrets of a webhook, and of what they say; no value is told."""
    for key, text, wrong_with in (("url", webhook.url, _url_fault), ("secret", webhook.secret, _key_fault)):
        wrong = secret_faults(text.template, environ)
        if name := bare_name(text.template):
            wrong = [f'"${name}" is no reference to a secret; write "${{{name}}}"']
        if not wrong and (unfit := wrong_with(text.resolve(environ))):
            wrong = [unfit]
        if key == "secret" and not wrong and not text.template.startswith("${"):
            wrong = ['holds a secret; put that into an environment variable, and write "${NAME}" here']
        yield from (Fault(file, key, message) for message in wrong)


def _url_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        fits = False
    return None if fits else "is no URL of an endpoint; write https://host/path"


def _key_fault(secret: str) -> str | None:
    if key_of(secret) is not None:
        return None
    made = f"printf '{PREFIX}%s\\n' \"$(openssl rand -base64 32)\""
    return f"is no signing secret: {PREFIX} and base64 of 24 to 64 bytes are needed; make one: {made}"
