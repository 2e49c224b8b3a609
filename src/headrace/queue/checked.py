"""The broker as the rest of Headrace sees it."""

from __future__ import annotations

import dramatiq


class Broker(dramatiq.Broker):
    """A dramatiq broker that can say whether its server is there and fit for use."""

    def check(self) -> None:
        """The server answers. Errors: `BrokerUnavailableError`, `ConfigurationError`."""
        raise NotImplementedError
