"""Keys by value: which texts may mean the same, whatever type a definition reads them as."""

from __future__ import annotations

from headrace.domain.arrow import Array, Table, pa, pc
from headrace.domain.coercion import canonical_text, coerce
from headrace.domain.vocabulary import PropertyType

_MAY_BE_A_NUMBER = r"\A\s*[+\-]?[0-9.]"
_TYPES = (PropertyType.INTEGER, PropertyType.DECIMAL, PropertyType.DATETIME)


def loose_keys(keys: Table, time_zone: str) -> Array:
    """One text a row, the same for keys that are equal as numbers, times or texts; null where a part is.

    Keys that are not equal as their definition reads them may share a text, never the other way round.
    """
    texts = []
    for column in keys.columns:
        loose = _loose(column.combine_chunks(), time_zone)
        texts += [pc.binary_length(loose).cast(pa.string()), loose]
    joined = pc.binary_join_element_wise(*texts, ":")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _loose(texts: Array, time_zone: str) -> Array:
    texts = texts.cast(pa.string())
    numbers = pc.fill_null(pc.match_substring_regex(texts, _MAY_BE_A_NUMBER), False)
    if not pc.any(numbers).as_py():
        return texts
    some = texts.filter(numbers)
    values = [canonical_text(coerce(some, type_, time_zone=time_zone).values) for type_ in _TYPES]
    return pc.replace_with_mask(texts, numbers, pc.coalesce(*values, some))
