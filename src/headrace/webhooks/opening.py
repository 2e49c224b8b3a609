"""Opens the endpoint of a webhook, its secrets found late and never shown."""

from __future__ import annotations

import os
from collections.abc import Callable

from headrace import logs
from headrace.definition.webhook import Webhook
from headrace.domain.webhook_signature import key_of
from headrace.errors import ConfigurationError
from headrace.webhooks.endpoint import Endpoint


def open_endpoint(id_: str, webhook: Webhook, *, now_s: Callable[[], float], version: str) -> Endpoint:
    """
    Raises:
        ConfigurationError: a secret is missing, or is none.
    """
    url, secret = webhook.url.resolve(os.environ), webhook.secret.resolve(os.environ)
    logs.keep_secret(secret, *([url] if url != webhook.url.template else []))
    key = key_of(secret)
    if key is None:
        raise ConfigurationError(
            f"webhook {id_}: its secret is no signing secret; headrace validate tells more"
        )
    return Endpoint(
        id_,
        url=url,
        key=key,
        patterns=webhook.events,
        data_sources=webhook.data_sources,
        give_up_s=webhook.give_up_after.seconds,
        now_s=now_s,
        agent=f"headrace/{version}",
    )
