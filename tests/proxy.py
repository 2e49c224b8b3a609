"""A TCP proxy whose link can be cut, slowed, held up and closed: an asyncio loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing sends RST, and what was on the way is lost."""
ANSWER_S = 10.0


class Proxy:
    """Passes bytes between clients and one server; every method may be called from any thread, and what it
    says is so when it returns. Close it at the end."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._refusing = False
        self._delay_s = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._links: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    # --- what can happen to the link ------------------------------------------------------------

    def reset(self) -> int:
        """Every connection is cut by RST; new ones are taken. Gives how many there were."""
        return self._call(lambda: self._cut(reset=True))

    def go_away(self) -> None:
        """Every connection is closed and new ones are refused, until `come_back`."""

        def refuse() -> None:
            self._refusing = True
            self._cut(reset=False)

        self._call(refuse)

    def come_back(self) -> None:
        self._refusing = False

    def stall(self) -> None:
        """Nothing passes, in neither direction: a partition. New connections wait like the old ones."""
        self._call(self._flowing.clear)

    def flow(self) -> None:
        """What was held up by `stall` passes on."""
        self._call(self._flowing.set)

    def delay(self, seconds: float) -> None:
        """Each piece of data takes so much longer, 0 for none."""
        self._delay_s = seconds

    def close(self) -> None:
        """No connection is left, and the thread has ended."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)
        self._loop.close()

    # --- in the loop ----------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self._writers.add(writer)
        try:
            await self._link(reader, writer)
        finally:
            self._links.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes pass until either end closes; the server's connection is closed then."""
        try:
            answers, requests = await asyncio.open_connection(*self._target)
        except OSError:
            return  # the server is away: so is the link
        self._writers.add(requests)
        pumps = [
            asyncio.ensure_future(self._pump(reader, requests)),
            asyncio.ensure_future(self._pump(answers, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(requests)
            requests.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()

    def _cut(self, *, reset: bool) -> int:
        cut = list(self._writers)
        for writer in cut:
            raw: socket.socket | None = writer.get_extra_info("socket")
            if reset and raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()
        return len(cut) // 2

    async def _end(self) -> None:
        self._refusing = True
        self._server.close()
        self._cut(reset=False)
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        await asyncio.sleep(0)  # closed transports let go of their sockets in the next turn

    # --- from other threads ---------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S)

    def _call(self, work: Callable[[], Result]) -> Result:
        async def called() -> Result:
            return work()

        return self._do(called())
