"""The peers, each in an environment of its own under `.bench-peers/` (`make bench-peers`), with the settings
that were found to be their fastest."""

from __future__ import annotations

from benchmarks.contestant import Contestant
from benchmarks.peers.dlt import Dlt
from benchmarks.peers.ingestr import Ingestr
from benchmarks.peers.singer import Singer
from benchmarks.peers.sling import Sling

PEERS: tuple[Contestant, ...] = (Ingestr(), Sling(), Dlt(), Singer())
