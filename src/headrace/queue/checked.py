"""The broker as the rest of Headrace sees it."""

from __future__ import annotations

from collections.abc import Mapping

import dramatiq

from headrace.domain.finding import Finding


class Broker(dramatiq.Broker):
    """A dramatiq broker that can say whether its server is there and fit for use.

    Attributes:
        prefix: what stands before a queue's name on the server.
    """

    prefix: str = ""

    def queue_name(self, queue: str) -> str:
        """The name on the server of a queue of the topology."""
        return self.prefix + queue

    def check(self) -> None:
        """The server answers. Errors: `BrokerUnavailableError`, `ConfigurationError`."""
        raise NotImplementedError

    def concern(self) -> Finding | None:
        """What somebody should look at although it works. Errors: as `check`."""
        return None

    def messages(self, queue: str) -> Mapping[str, int]:
        """How many messages of a queue of the topology are `ready`, and where the server tells, how many
        are `unacked` by the worker that took them. Errors: `BrokerUnavailableError`."""
        raise NotImplementedError
