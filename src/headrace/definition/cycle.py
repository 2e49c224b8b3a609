"""Circles among things of which each points to at most one other."""

from __future__ import annotations

from collections.abc import Mapping


def cycles(edges: Mapping[str, str]) -> list[list[str]]:
    """Every circle once, from its first member in order of name, back to it: `[a, b, a]`."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in sorted(edges):
        path: list[str] = []
        at: str | None = start
        while at is not None and at not in done and at not in path:
            path.append(at)
            at = edges.get(at)
        if at is not None and at in path:
            members = path[path.index(at) :]
            first = members.index(min(members))
            found.append([*members[first:], *members[: first + 1]])
        done.update(path)
    return found
