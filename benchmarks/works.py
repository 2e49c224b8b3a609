"""The works: what is done, on which rows, by every peer in turn, round after round."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import users
from benchmarks.database import database
from benchmarks.http_record import http_record
from benchmarks.outcome import Outcome, Result
from benchmarks.peers import Peer
from benchmarks.reconcile import reconcile
from benchmarks.routing import cold_route_postgres, cold_route_sqlite, warm_route


def first_load(peers: Sequence[Peer], *, rows: int, rounds: int, announce: Callable[[str], None]) -> Outcome:
    """W1: every row of `users` merged by key into an empty table, peers alternating."""
    results = []
    with database("source") as source_url, tempfile.TemporaryDirectory() as directory:
        announce(f"W1: making {rows:,} users")
        users.make(source_url, rows)
        wanted = users.checksum(source_url, "users")
        for number in range(1, rounds + 1):
            for peer in peers:
                measured, found = peer.first_load(source_url, Path(directory))
                results.append(Result(peer.name, number, measured, equal=found == wanted))
                verdict = "equal" if found == wanted else f"NOT EQUAL: {found}, not {wanted}"
                announce(
                    f"W1 round {number}: {peer.name:28} {measured.wall_s:7.2f} s"
                    f" {measured.peak_rss_mib:6.0f} MiB  {verdict}"
                )
    return Outcome("W1", rows, tuple(results))


WORKS = {
    "W1": first_load,
    "http-record": http_record,
    "reconcile": reconcile,
    "route-cold-postgres": cold_route_postgres,
    "route-cold-sqlite": cold_route_sqlite,
    "route-warm": warm_route,
}
"""By name, as `python -m benchmarks --work` takes them."""
