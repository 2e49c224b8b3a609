"""The servers of the tests are there: continuous integration runs this first, to fail early."""

from __future__ import annotations


def test_postgresql_is_reachable(postgres_server: str) -> None:
    assert postgres_server


def test_mariadb_is_reachable(mysql_server: str) -> None:
    assert mysql_server


def test_redis_is_reachable(redis_server: str) -> None:
    assert redis_server


def test_rabbitmq_is_reachable(rabbitmq_server: str) -> None:
    assert rabbitmq_server
