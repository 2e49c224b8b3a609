# mypy: disable-error-code="no-untyped-call"
"""dramatiq's Redis broker, made to survive what was measured (docs/adr/0004-broker-only-nudges.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import dramatiq
import redis
from dramatiq.broker import MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import ConnectionClosed
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.domain.finding import Finding, FindingCode, Severity
from headrace.errors import BrokerUnavailableError, ConfigurationError, ErrorCode, Fault
from headrace.queue import sieve
from headrace.queue.checked import Broker

SOCKET_TIMEOUT_S: Final = 30
CONNECT_TIMEOUT_S: Final = 5
HEALTH_CHECK_EVERY_S: Final = 30
MAINTENANCE_CHANCE: Final = 50_000
"""Commands in a million that look for dead workers' messages: one in twenty."""
LOOKED_AT_KEYS: Final = 1_000
OTHER_KEYS: Final = (b"_kombu.", b"unacked", b"headrace.")
"""Beginnings of keys of the exchanges of triggers and records."""
BEAT_EVERY_S: Final = 10.0
DEAD_AFTER_S: Final = 60.0


def connect(url: str) -> redis.Redis:
    """A client that never retries by itself: a repeated enqueue can push twice, a repeated fetch
    strands what the first one took."""
    return redis.Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_EVERY_S,
        retry=Retry(NoBackoff(), 0),
    )


def refuse_eviction(client: redis.Redis, variable: str) -> None:
    """The server drops no key when its memory is full.

    Args:
        variable: the setting that names the server.

    Raises:
        ConfigurationError: it may.
    """
    policy = client.info("memory").get("maxmemory_policy")
    if policy != "noeviction":
        why = f"this Redis may drop messages (maxmemory-policy {policy}); set it to noeviction"
        raise ConfigurationError(Fault(variable, "", why, ErrorCode.BROKER_EVICTS))


class SturdyRedisBroker(RedisBroker, Broker):
    """Drops what is no message before dramatiq sees it, and beats while all its threads are busy."""

    def __init__(self, *, client: redis.Redis, namespace: str) -> None:
        super().__init__(
            client=client,
            namespace=namespace,
            # No middleware: nothing retries, delays, times out, chains or follows a message's options.
            middleware=[],
            maintenance_chance=MAINTENANCE_CHANCE,
            heartbeat_timeout=int(DEAD_AFTER_S * 1000),
        )
        self._beat_at = time.monotonic()

    @property
    def consumer_class(self) -> type[_Consumer]:
        return _Consumer

    def check(self) -> None:
        """The server answers and drops no key when its memory is full.

        Errors: `BrokerUnavailableError`, `ConfigurationError`.
        """
        try:
            refuse_eviction(self.client, "HEADRACE_BROKER_URL")
        except redis.AuthenticationError as error:
            raise ConfigurationError(
                Fault("HEADRACE_BROKER_URL", "", f"Redis refuses: {error}", ErrorCode.BROKER_LOGIN_REFUSED)
            ) from error
        except (redis.RedisError, OSError) as error:
            raise BrokerUnavailableError(f"Redis cannot be reached: {error}") from error

    def messages(self, queue: str) -> Mapping[str, int]:
        name = self.queue_name(queue)
        try:
            with self.client.pipeline(transaction=False) as pipe:
                pipe.llen(f"{self.namespace}:{name}")
                pipe.zrange(f"{self.namespace}:__heartbeats__", 0, -1)
                ready, workers = pipe.execute()
                for worker in workers:
                    pipe.scard(f"{self.namespace}:__acks__.{worker.decode()}.{name}")
                return {"ready": ready, "unacked": sum(pipe.execute())}
        except (redis.RedisError, OSError) as error:
            raise BrokerUnavailableError(f"Redis cannot be reached: {error}") from error

    def concern(self) -> Finding | None:
        """Keys of somebody else in the same database, of some that were looked at."""
        try:
            _, keys = self.client.scan(0, count=LOOKED_AT_KEYS)
        except (redis.RedisError, OSError) as error:
            raise BrokerUnavailableError(f"Redis cannot be reached: {error}") from error
        ours = (f"{self.namespace}:".encode(), *OTHER_KEYS)
        foreign = sum(not key.startswith(ours) for key in cast("list[bytes]", keys))
        if not foreign:
            return None
        return Finding(
            severity=Severity.WARNING,
            code=FindingCode.BROKER_SHARED,
            where="broker",
            what=f"{foreign} of {len(keys)} keys that were looked at are not Headrace's",
            remedy="give Headrace a database number of its own, as redis://host/3, or a server",
        )

    def close(self) -> None:
        self.client.close()

    def do_fetch(self, queue_name: str, count: int) -> list[bytes]:
        """Up to `count` messages of the queue, sound ones only; the others are gone from it."""
        fetched: list[bytes | None] = self._dispatch("fetch")(queue_name, count)
        self._beat_at = time.monotonic()
        sound = [data for data in fetched if data is not None and self._refusal(queue_name, data) is None]
        if len(sound) < len(fetched):
            self._drop_unsound(queue_name)
        return sound

    def wait_for_message(self, queue_name: str, *, timeout_s: float) -> None:
        """Returns when there is a message in the queue, or after the time.

        The first id of the list is moved to where it is: that changes nothing, and waits while there is none.
        Every consumer that waits is woken; those that come too late wait again.
        """
        ids = f"{self.namespace}:{queue_name}"
        part_of_a_second = cast("int", timeout_s)  # Redis takes it, though the client's types do not
        self.client.blmove(ids, ids, part_of_a_second, "LEFT", "LEFT")

    def _refusal(self, queue_name: str, data: bytes) -> str | None:
        message = sieve.decoded(data)
        if message is None:
            return "malformed"
        reason = sieve.refusal(message, queue_name, self.actors)
        if reason is None and not isinstance(message.options.get("redis_message_id"), str):
            return "malformed"
        return reason

    def _drop_unsound(self, queue_name: str) -> None:
        # Only the ids that this broker took are looked at: at most some more than its threads.
        taken = self.client.smembers(f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}")
        for message_id in taken:
            data = cast("bytes | None", self.client.hget(f"{self.namespace}:{queue_name}.msgs", message_id))
            reason = "malformed" if data is None else self._refusal(queue_name, data)
            if reason is not None:
                self._dispatch("ack")(queue_name, message_id)
                sieve.count_dropped(queue_name, reason)

    def beat(self) -> None:
        """This broker's messages are still its own, though it has fetched nothing for a while: only
        commands refresh dramatiq's heartbeat, and a worker whose threads are all busy gives none."""
        if time.monotonic() - self._beat_at >= BEAT_EVERY_S:
            self.client.zadd(f"{self.namespace}:__heartbeats__", {self.broker_id: int(time.time() * 1000)})
            self._beat_at = time.monotonic()


class _Consumer(_RedisConsumer):
    """Waits for the next message instead of looking for it again and again: dramatiq's own sleeps, longer
    each time, and sleeps on when a thread has become free meanwhile. Time-outs are lost connections too:
    dramatiq knows only `redis.ConnectionError`."""

    broker: SturdyRedisBroker

    def __init__(self, broker: SturdyRedisBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._freed = threading.Event()

    def __next__(self) -> Any:
        try:
            self.broker.beat()
            if not self.message_cache and not self._fetch():
                return None
            message = dramatiq.Message[Any].decode(self.message_cache.pop(0))
            self.queued_message_ids.add(message.message_id)
            return MessageProxy(message)
        except (redis.TimeoutError, redis.ConnectionError) as error:
            raise ConnectionClosed(error) from None

    def _fetch(self) -> bool:
        """There are messages to hand out; False after a while without any, or without a free thread."""
        self._freed.clear()  # before counting: whoever is freed after that is waited for in vain no more
        free = self.prefetch - self.outstanding_message_count
        if free <= 0:
            self._freed.wait(self.timeout / 1000)
            return False
        self.message_cache = self.broker.do_fetch(self.queue_name, free)
        if not self.message_cache:
            self.broker.wait_for_message(self.queue_name, timeout_s=self.timeout / 1000)
        return bool(self.message_cache)

    def ack(self, message: Any) -> None:
        try:
            super().ack(message)
        except redis.TimeoutError as error:
            raise ConnectionClosed(error) from None
        finally:
            self._freed.set()

    def requeue(self, messages: Any) -> None:
        try:
            super().requeue(messages)
        except (redis.TimeoutError, redis.ConnectionError) as error:
            raise ConnectionClosed(error) from None
