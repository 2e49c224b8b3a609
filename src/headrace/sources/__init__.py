"""Readers of source databases, one dialect each, behind `headrace.ports.SourceReader`."""

from __future__ import annotations

from headrace.sources.connect import open_reader

__all__ = ["open_reader"]
