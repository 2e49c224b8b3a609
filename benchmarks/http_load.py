"""Asks one server for records by key as fast as it answers, from a process of its own, over kept connections.

`python -m benchmarks.http_load PORT PATH CONNECTIONS SECONDS KEYS`, with the token in HTTP_TOKEN, if any,
prints how many requests were answered with 200, and in how many seconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Asker(asyncio.Protocol):
    """One connection: the next request is sent when the answer to the last one is there whole."""

    def __init__(self, requests: list[bytes], until: float, done: asyncio.Future[int]) -> None:
        self._requests = requests
        self._until = until
        self._done = done
        self._answered = 0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(_END)
        at = received.find(_LENGTH, 0, end)
        if end < 0 or len(received) < end + 4 + int(received[at + 16 : received.index(b"\r\n", at)]):
            self._received = received
            return
        self._received = b""
        if not received.startswith(b"HTTP/1.1 200"):
            self._fail(received)
            return
        self._answered += 1
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self._transport.close()
            self._done.set_result(self._answered)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("closed"))

    def _ask(self) -> None:
        self._transport.write(self._requests[random.randrange(len(self._requests))])

    def _fail(self, received: bytes) -> None:
        self._transport.close()
        self._done.set_exception(RuntimeError(received[:500].decode(errors="replace")))


async def load(port: int, requests: list[bytes], connections: int, seconds: float) -> tuple[int, float]:
    """Requests answered, and how long it took."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    done = [loop.create_future() for _ in range(connections)]
    for future in done:
        await loop.create_connection(
            lambda f=future: Asker(requests, began + seconds, f),
            "127.0.0.1",
            port,  # type: ignore[misc]
        )
    return sum(await asyncio.gather(*done)), time.perf_counter() - began


def main() -> None:
    port, path, connections, seconds, keys = sys.argv[1:]
    token = os.environ.get("HTTP_TOKEN")
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    requests = [
        f"GET {path}/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n".encode()
        for key in range(1, int(keys) + 1)
    ]
    answered, took = asyncio.run(load(int(port), requests, int(connections), float(seconds)))
    print(answered, took)


if __name__ == "__main__":
    main()
