"""Ids that are made here."""

from __future__ import annotations

import uuid


def new_uuid() -> str:
    """A random id, never used twice."""
    return str(uuid.uuid4())
