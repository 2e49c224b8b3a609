"""Markers: texts that say by themselves whose they are, so that any bytes can be searched for anybody's."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

_FORM = re.compile(rb"mk[0-9a-f]{16}")
_ENCODED = re.compile(rb"[A-Za-z0-9_-]{12,}")

Customer = tuple[str, str]
"""Visibility group and `provided_id`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a marker stands in.

    Attributes:
        groups: whose staff may see it; nobody's: a secret.
        record_of: the customer in whose record it is, who may see it too.
    """

    what: str
    groups: frozenset[str] = frozenset()
    record_of: Customer | None = None


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: nobody, the staff of a group, or a customer."""

    name: str
    token: str | None = None
    group: str | None = None
    customer: Customer | None = None

    def may_see(self, mark: Mark, about: Customer | None) -> bool:
        """`about`: the only customer of whom the question is, if it is of one."""
        if self.customer is not None:
            return mark.record_of == self.customer
        if mark.record_of is not None and about is not None and mark.record_of != about:
            return False
        return self.group in mark.groups


@dataclass(slots=True)
class Markers:
    """All markers that were made, and whole texts that nobody may see."""

    marks: dict[str, Mark] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def make(self, what: str, *, groups: frozenset[str] = frozenset(), of: Customer | None = None) -> str:
        text = f"mk{secrets.token_hex(8)}"
        self.marks[text] = Mark(what, groups if of is None else frozenset({of[0]}), of)
        return text

    def of(self, customer: Customer) -> set[str]:
        """Those in the records of the customer."""
        return {text for text, mark in self.marks.items() if mark.record_of == customer}

    def foreign(
        self, data: bytes, asker: Asker, about: Customer | None = None, *, sent: str = ""
    ) -> list[str]:
        """What is in these bytes and not for this asker, in words.

        Args:
            sent: what the asker has said itself: a value that it looks for may be repeated to it, no secret.
        """
        found = [
            f"{self.marks[text]}"
            for text in found_in(data)
            if not asker.may_see(self.marks[text], about)
            and not (text in sent and self.marks[text].record_of is not None)
        ]
        return found + [what for text, what in self.secrets.items() if text.encode() in data]


def found_in(data: bytes) -> set[str]:
    """The markers in these bytes: as they are, percent-encoded, or within base64 (cursors, tokens)."""
    texts = [data, unquote_to_bytes(data)]
    texts += [urlsafe_b64decode(run + b"=" * (-len(run) % 4)) for run in _runs(data)]
    return {text.decode() for part in texts for text in _FORM.findall(part)}


def _runs(data: bytes) -> list[bytes]:
    return [run for run in _ENCODED.findall(data) if len(run) % 4 != 1]
