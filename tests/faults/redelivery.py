"""Nudges that come more often than they were sent."""

from __future__ import annotations

import random

import psycopg

from headrace.domain.messages import MergeModel, Message, PollFeed
from headrace.queue import broker as brokers
from headrace.queue.nudges import to_dramatiq
from tests.faults import shop


def redeliver(broker_url: str, namespace: str, *, control_url: str, times: int, chance: random.Random) -> int:
    """Every nudge that there can be is in the queues so many times more, in any order; gives how many."""
    messages = _all_nudges(control_url) * times
    chance.shuffle(messages)
    broker = brokers.make(broker_url, namespace=namespace)
    try:
        for message in messages:
            broker.enqueue(to_dramatiq(message, broker))
    finally:
        broker.close()
    return len(messages)


def _all_nudges(control_url: str) -> list[Message]:
    with psycopg.connect(control_url, autocommit=True) as control:
        feeds = control.execute("SELECT id FROM feed WHERE state = 'active' ORDER BY source_id").fetchall()
    merges = [MergeModel(data_source_id=home, model="users") for home in sorted(set(shop.HOMES.values()))]
    return [*(PollFeed(feed_id=feed) for (feed,) in feeds), *merges]
