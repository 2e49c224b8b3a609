"""A short name for the shape of a relation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from headrace.ports import ColumnFacts


def fingerprint(columns: Sequence[ColumnFacts]) -> str:
    """Changes when a column comes, goes, moves, or changes its native type."""
    shape = json.dumps([(column.name, column.native_type) for column in columns])
    return hashlib.sha256(shape.encode()).hexdigest()
