"""Has sources read when their databases notify, over one connection for each app that such sources have."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from headrace import logs, traces
from headrace.domain.schedule import backoff_s
from headrace.domain.vocabulary import AppId
from headrace.errors import ConfigurationError, RetryableError
from headrace.metrics import LISTENING
from headrace.sources.postgres_listen import Notification
from headrace.steps.catalogue import Listened
from headrace.steps.trigger import Asker, TriggerStep

log = logs.get(__name__)

LOOK_EVERY_S: Final = 1.0
"""How often it is looked for what is applied by now."""
MOST_AT_ONCE: Final = 200
_LONGEST_WAIT_S: Final = 30.0


class Listens(Protocol):
    """The part of the application that this calls."""

    @property
    def triggering(self) -> TriggerStep: ...

    def listened(self) -> Mapping[AppId, Listened]:
        """The apps whose notifications are wanted."""
        ...

    def notifications(
        self, app_id: AppId, listened: Listened
    ) -> AsyncGenerator[Sequence[Notification], None]:
        """See `headrace.sources.postgres_listen.notifications`."""
        ...


@dataclass(frozen=True, slots=True)
class _Listener:
    listened: Listened
    task: asyncio.Task[None]


class Listening:
    """Listens to what the applied definitions name until it is stopped; goes on by itself when a database, or
    the control database, was away. All in one thread, but for the requests themselves.

    What is notified while nobody listens is lost. So a source is read once whenever somebody begins to.
    """

    def __init__(self, app: Listens, *, chance: random.Random) -> None:
        self._app = app
        self._chance = chance
        self._listeners: dict[AppId, _Listener] = {}

    def run(self, *, stop: threading.Event) -> None:
        """Until `stop` is set; then every connection is closed."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                try:
                    await self._follow(await asyncio.to_thread(self._app.listened))
                except (RetryableError, ConfigurationError) as error:
                    log.debug("listening goes on as before", error=str(error))
                await asyncio.to_thread(stop.wait, LOOK_EVERY_S)
        finally:
            await self._follow({})

    async def _follow(self, wanted: Mapping[AppId, Listened]) -> None:
        gone = [id_ for id_, listener in self._listeners.items() if wanted.get(id_) != listener.listened]
        tasks = [self._listeners.pop(app_id).task for app_id in gone]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for app_id in gone:
            LISTENING.remove(app_id)
        for app_id, listened in wanted.items():
            if app_id not in self._listeners:
                LISTENING.labels(app=app_id).set(0)
                task = asyncio.create_task(self._listen(app_id, listened))
                self._listeners[app_id] = _Listener(listened, task)

    async def _listen(self, app_id: AppId, listened: Listened) -> None:
        failures, told = 0, ""
        while True:
            try:
                async with aclosing(self._app.notifications(app_id, listened)) as heard:
                    async for come in heard:
                        await asyncio.to_thread(self._meet, app_id, listened, come)
                        if not come:
                            log.info("listening", app=app_id, channels=sorted(listened.channels))
                        failures, told = 0, ""
                        LISTENING.labels(app=app_id).set(1)
            except (RetryableError, ConfigurationError) as error:
                if told != str(error):
                    log.warning("notifications are missed", app=app_id, code=error.code, error=str(error))
                told = str(error)
            except Exception:
                log.exception("notifications are missed", app=app_id)
            finally:
                LISTENING.labels(app=app_id).set(0)
            failures += 1
            await asyncio.sleep(min(backoff_s(failures, self._chance), _LONGEST_WAIT_S))

    def _meet(self, app_id: AppId, listened: Listened, come: Sequence[Notification]) -> None:
        """What is notified is asked for; where nothing is, listening has just begun: everything."""
        step, asker = self._app.triggering, Asker(by=f"listen:{app_id}", app=app_id)
        for some in _parts(come or [Notification(channel, "") for channel in sorted(listened.channels)]):
            with traces.span("trigger", requests=len(some)):
                step.meet(
                    [
                        judged
                        for channel, payload in some
                        for judged in step.notified(payload, asker, listened.channels[channel])
                    ]
                )


def _parts(notifications: Sequence[Notification]) -> Iterator[Sequence[Notification]]:
    for first in range(0, len(notifications), MOST_AT_ONCE):
        yield notifications[first : first + MOST_AT_ONCE]
