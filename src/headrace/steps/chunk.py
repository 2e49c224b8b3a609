"""What a batch of keys speaks for, as the JSON that travels with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from headrace.ports import KeyChunk


def key_chunk(meta: Mapping[str, Any]) -> KeyChunk:
    """The chunk that a batch of keys speaks for, from its `meta` (`chunk_meta` made it)."""
    bounds = {name: tuple(meta[name]) if meta[name] is not None else None for name in ("after", "upto")}
    return KeyChunk(**{**meta, **bounds})


def chunk_meta(chunk: KeyChunk) -> dict[str, Any]:
    """The chunk as JSON."""
    return asdict(chunk)
