"""An endpoint that record events are posted to: a sink of the relay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final

import httpx

from headrace.domain.cloud_event import CONTENT_TYPE, CloudEvent
from headrace.domain.topic_pattern import matches
from headrace.domain.vocabulary import DataSourceId
from headrace.domain.webhook_signature import signed_headers
from headrace.ports.relaying import Delivered, Failure

_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 8
_PAGE_EVENTS: Final = 4 * _AT_ONCE
_AWAY: Final = frozenset({401, 403, 404, 405, 407, 408, 410, 421, 425, 429})
"""Answers that say nothing of the event: they are to be mended at the endpoint, or pass."""
_MOST_READ: Final = 64 * 1024
_REFUSED_FOR_S: Final = 300.0


class Endpoint:
    """Implements `ports.relaying.Sink`: one POST an event, several at a time, those of a record in order.

    A redirect is a failure: where events go is said by the definitions alone. Of an answer nothing counts but
    its status.
    """

    page_events = _PAGE_EVENTS
    lease_s = 2 * _TIMEOUT_S * _PAGE_EVENTS / _AT_ONCE
    longest_retry_s = 300.0
    give_up_event_s = _REFUSED_FOR_S

    def __init__(
        self,
        id_: str,
        *,
        url: str,
        key: bytes,
        patterns: Sequence[str],
        data_sources: Collection[str] | None,
        give_up_s: float,
        now_s: Callable[[], float],
        agent: str,
    ) -> None:
        """
        Args:
            key: signs what is sent.
            patterns: of routing keys: which events are sent.
            data_sources: whose events; None: of all.
            agent: who asks, in its headers.
        """
        self.id = id_
        self.give_up_s = give_up_s
        self._url = url
        self._key = key
        self._patterns = tuple(patterns)
        self._data_sources = data_sources
        self._now_s = now_s
        self._had: set[str] = set()
        limits = httpx.Limits(
            max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE, keepalive_expiry=30
        )
        headers = {"user-agent": agent, "content-type": CONTENT_TYPE}
        self._client = httpx.Client(
            timeout=_TIMEOUT_S, limits=limits, headers=headers, follow_redirects=False
        )
        self._posting = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"webhook-{id_}")

    def wants(self, data_source: DataSourceId, routing_key: str) -> bool:
        of_it = self._data_sources is None or data_source in self._data_sources
        return of_it and matches(self._patterns, routing_key)

    def deliver(self, events: Sequence[CloudEvent]) -> Delivered:
        """An event that is refused keeps back those of its record, an endpoint that is away all that follow.
        What was taken beyond the first failure is not sent again by this process."""
        places = sorted(range(len(events)), key=lambda place: (events[place].record, place))
        records = [list(own) for _, own in groupby(places, key=lambda place: events[place].record)]
        failures: dict[int, Failure] = {}
        away: list[Failure] = []

        def post_those_of_a_record(own: list[int]) -> None:
            for place in own:
                if away:
                    return
                failure = None if events[place].id in self._had else self._post(events[place])
                if failure is not None:
                    failures[place] = failure
                    if not failure.of_event:
                        away.append(failure)
                    return
                self._had.add(events[place].id)

        for _ in self._posting.map(post_those_of_a_record, sorted(records)):
            pass
        missing = [place for place, event in enumerate(events) if event.id not in self._had]
        count = missing[0] if missing else len(events)
        self._had -= {event.id for event in events[:count]}
        # What was not tried was not because the endpoint is away.
        return Delivered(count=count, failure=failures.get(count) or away[0] if missing else None)

    def rest(self) -> None:
        """Idle connections end by themselves."""

    def close(self) -> None:
        self._posting.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _post(self, event: CloudEvent) -> Failure | None:
        headers = signed_headers(self._key, id_=event.id, at_s=int(self._now_s()), body=event.body)
        try:
            with self._client.stream("POST", self._url, content=event.body, headers=headers) as answer:
                status = answer.status_code
                _read_some(answer)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # Without its text: that may show the URL.
            return Failure(reason=f"cannot be reached: {type(error).__name__}", of_event=False)
        if 200 <= status < 300:
            return None
        return Failure(reason=f"answered {status}", of_event=400 <= status < 500 and status not in _AWAY)


def _read_some(answer: httpx.Response) -> None:
    """To its end, after which the connection serves again; a long one is not waited for."""
    read = 0
    for piece in answer.iter_raw():
        read += len(piece)
        if read > _MOST_READ:
            return
