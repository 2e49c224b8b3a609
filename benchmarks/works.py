"""The works, and what each is to reach. `python -m benchmarks --work` takes them by name."""

from __future__ import annotations

from benchmarks.work import Extent, Target, Work

_MILLION, _SMOKE = Extent(1_000_000), Extent(2_000)


def _times(what: str, at_most: float, *, beside: str = "reference", figure: str = "wall_s") -> Target:
    return Target(what=what, at_most=at_most, beside=beside, figure=figure)


_ALL = (
    Work(
        name="W1",
        title="1,000,000 rows into an empty model, `headrace sync` from start to exit",
        place="benchmarks.merging:first_load",
        full=_MILLION,
        small=_SMOKE,
        targets=(_times("seconds", 1.0),),
    ),
    Work(
        name="W2",
        title="100,000 of 1,000,000 rows changed, `headrace sync` from start to exit",
        place="benchmarks.merging:changes",
        full=_MILLION,
        small=_SMOKE,
        targets=(_times("seconds", 1.4),),
    ),
    Work(
        name="W5",
        title="1,000,000 secondary rows onto 100,000 records, five aggregates; then 100,000 of them changed",
        place="benchmarks.aggregation:aggregation",
        full=_MILLION,
        small=_SMOKE,
        targets=(
            _times("first load", 1.5, figure="load_s"),
            _times("changes", 1.5, figure="changed_s"),
        ),
    ),
    Work(
        name="W1-sqlite",
        title="W1 embedded, SQLite files throughout; beside executemany and upsert by hand",
        place="benchmarks.sqlite:first_load",
        full=_MILLION,
        small=_SMOKE,
        targets=(_times("seconds", 1.5),),
    ),
    Work(
        name="W1-mariadb",
        title="W1 from MariaDB into PostgreSQL; beside PyMySQL's SSCursor and the reference's merge",
        place="benchmarks.mariadb:first_load",
        full=_MILLION,
        small=_SMOKE,
        targets=(_times("seconds", 1.3),),
    ),
    Work(
        name="reconcile",
        title="1,000,000 unchanged keys compared, beside a COPY of them out and in",
        place="benchmarks.reconcile:reconcile",
        full=_MILLION,
        small=_SMOKE,
        targets=(_times("seconds", 2.0),),
    ),
    Work(
        name="W1-daemon",
        title="W1 by separate workers on Redis, from the trigger until the last row is visible",
        place="benchmarks.first_load_daemon:first_load",
        full=_MILLION,
        small=_SMOKE,
        targets=(_times("seconds", 1.1),),
    ),
    Work(
        name="memory",
        title="peak of any process and of Redis in W1, with 1,000,000 rows and with 10,000,000",
        place="benchmarks.first_load_daemon:memory",
        full=_MILLION,
        small=_SMOKE,
        rounds=1,
        targets=(
            Target(what="RSS of any process", figure="peak_mb", at_most=300, unit=" MB"),
            Target(what="its growth with ten times the rows", figure="growth", at_most=1.1),
            Target(what="Redis", figure="peak_redis_mb", at_most=20, unit=" MB"),
        ),
    ),
    Work(
        name="W3",
        title="idle polls of a running daemon over 500 feeds, PostgreSQL source and control database",
        place="benchmarks.idle:idle_polls",
        full=Extent(500, seconds=10),
        small=Extent(5, seconds=1),
        targets=(
            Target(what="polls/s", figure="polls_per_s", at_least=300, unit="/s"),
            Target(what="CPU of one, servers included", figure="cpu_ms_per_poll", at_most=5, unit=" ms"),
        ),
    ),
    Work(
        name="W4-redis",
        title="freshness: from a message's trigger until one row is visible; 100 of them, on Redis",
        place="benchmarks.freshness:on_redis",
        full=Extent(100, seconds=5),
        small=Extent(5, seconds=0.5),
        targets=(
            Target(what="p50", figure="p50_ms", at_most=30, unit=" ms"),
            Target(what="p99", figure="p99_ms", at_most=150, unit=" ms"),
            Target(what="CPU of an idle worker", figure="idle_cpu_percent", at_most=5, unit=" %"),
        ),
    ),
    Work(
        name="W4-rabbitmq",
        title="the same on RabbitMQ",
        place="benchmarks.freshness:on_rabbitmq",
        full=Extent(100, seconds=5),
        small=Extent(5, seconds=0.5),
        targets=(Target(what="p50", figure="p50_ms", at_most=15, unit=" ms"),),
    ),
    Work(
        name="schedules",
        title="10,000 feeds, each polled every minute",
        place="benchmarks.schedules:schedules",
        full=Extent(10_000, seconds=130),
        small=Extent(10, seconds=1),
        rounds=1,
        targets=(
            Target(what="the latest poll", figure="peak_late_s", at_most=10, unit=" s"),
            Target(what="CPU of the scheduler", figure="scheduler_cpu_percent", at_most=20, unit=" %"),
        ),
    ),
    Work(
        name="http-record",
        title="a record by key over HTTP, beside a bare endpoint with the same SQL",
        place="benchmarks.http_record:http_record",
        full=Extent(10_000, seconds=4),
        small=Extent(100, seconds=0.3),
        targets=(Target(what="requests/s", figure="requests_per_s", beside="bare endpoint", at_least=0.7),),
    ),
    Work(
        name="route-warm",
        title="the route of one of 100,000 customers, known; beside a dictionary's lookup",
        place="benchmarks.routing:warm_route",
        full=Extent(100_000),
        small=_SMOKE,
        targets=(_times("time", 10, beside="dictionary", figure="each_us"),),
    ),
    Work(
        name="route-cold-sqlite",
        title="the same, not known; beside a SELECT by key",
        place="benchmarks.routing:cold_route_sqlite",
        full=Extent(100_000),
        small=_SMOKE,
        targets=(_times("time", 3, beside="SELECT by key", figure="each_us"),),
    ),
    Work(
        name="route-cold-postgres",
        title="the same, not known, over PostgreSQL",
        place="benchmarks.routing:cold_route_postgres",
        full=Extent(100_000),
        small=_SMOKE,
        targets=(_times("time", 3, beside="SELECT by key", figure="each_us"),),
    ),
    Work(
        name="W1-peers",
        title="W1 beside the peers",
        place="benchmarks.merging:first_load_of_peers",
        full=_MILLION,
        small=_SMOKE,
        suite="peers",
    ),
    Work(
        name="W2-peers",
        title="W2 beside the peers",
        place="benchmarks.merging:changes_of_peers",
        full=_MILLION,
        small=_SMOKE,
        suite="peers",
    ),
    Work(
        name="growth-W1",
        title="W1 as rows grow",
        place="benchmarks.merging:growth",
        full=_MILLION,
        small=_SMOKE,
        suite="growth",
    ),
    Work(
        name="growth-W3",
        title="idle polls as feeds grow",
        place="benchmarks.idle:growth",
        rounds=1,
        full=Extent(10_000, seconds=10),
        small=Extent(10, seconds=1),
        suite="growth",
    ),
    Work(
        name="growth-W4",
        title="freshness as changes a second grow, on Redis",
        place="benchmarks.freshness:growth",
        full=Extent(1, seconds=10),
        small=Extent(1, seconds=0.5),
        suite="growth",
    ),
    Work(
        name="growth-W5",
        title="W5 as properties grow",
        place="benchmarks.aggregation:growth",
        full=Extent(200_000),
        small=_SMOKE,
        suite="growth",
    ),
)

WORKS = {work.name: work for work in _ALL}
SUITES = tuple(dict.fromkeys(work.suite for work in _ALL))
