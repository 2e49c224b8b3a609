"""Whether a data source has exactly the keys of a chunk, told by one digest from each side.

Most chunks of a reconciliation are so, and neither loading keys nor joining tables is cheap: this reads an
index. Where the digests differ, for whatever reason, the chunk is compared key by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from headrace.domain.arrow import Array, Table, pa, pc
from headrace.domain.coercion import canonical_text
from headrace.domain.shape import Column
from headrace.domain.vocabulary import CUSTOMER, TEXT_TYPES, PropertyType
from headrace.ports import FeedScope
from headrace.stores.dialect import Dialect

_CUSTOMER = Column(name=CUSTOMER, type=PropertyType.STRING, source_column=CUSTOMER)


def one_customer(scope: FeedScope) -> str | None:
    """The customer that all records of the feed have, and that is why no line of a digest tells."""
    return scope.customer if scope.source.primary else None


def digest_of(keys: Table, scope: FeedScope) -> str | None:
    """The digest of the keys in their order; None where one is not of the only customer."""
    customer = one_customer(scope)
    if customer is not None and pc.all(pc.equal(keys.column(CUSTOMER), customer)).as_py() is False:
        return None
    texts: list[Array] = []
    for column in _told(scope):
        text = canonical_text(keys.column(column.name))
        texts += [pc.binary_length(text).cast(pa.string()), text] if column.type in TEXT_TYPES else [text]
    lines = pc.binary_join_element_wise(*texts, ",") if len(texts) > 1 else texts[0]
    whole = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")
    return sha256(whole[0].as_buffer()).hexdigest()


def select_digest(dialect: Dialect, scope: FeedScope, *, rows: str, conditions: Sequence[str]) -> str:
    """The statement that gives the digest of the rows (alias r) that meet the conditions, in order."""
    told = [(f"r.{dialect.quote(c.name)}", c.type) for c in _told(scope)]
    parts: list[str] = []
    for name, type_ in told:
        text = dialect.key_text(name, type_)
        parts += [dialect.byte_length(text), text] if type_ in TEXT_TYPES else [text]
    order = ", ".join(dialect.comparable(name, type_) for name, type_ in told)
    # The aggregate takes the rows in the order in which the subquery gives them. Did it not, the digests
    # would differ and all be compared key by key.
    line = " || ',' || ".join(parts)
    ordered = f"SELECT {line} AS line FROM {rows} AS r WHERE {' AND '.join(conditions)} ORDER BY {order}"
    return f"SELECT {dialect.digest_of_lines('o.line')} FROM ({ordered}) AS o"


def _told(scope: FeedScope) -> tuple[Column, ...]:
    """What a line of a digest says: the key, and the customer where not all have the same."""
    return scope.source.key if one_customer(scope) is not None else (*scope.source.key, _CUSTOMER)
