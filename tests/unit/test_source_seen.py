"""When a source is another database than the one that was read, or an older one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.domain.source_seen import SourceIdentity, SourceSeen, why_restored

BEFORE = SourceIdentity(database="system 7, database 5", relation="16400", branch="00000001", progress=100)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"database": "system 7, database 6"}, "another database answers"),
        ({"branch": "00000002", "progress": 500}, "failed over or was recovered"),
        ({"relation": "16500"}, "the table was dropped and made anew"),
        ({"progress": 99}, "went back"),
    ],
)
def test_another_or_an_older_database_is_told(change: dict[str, str], why: str) -> None:
    assert why in str(why_restored(BEFORE, replace(BEFORE, **change)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reads", "anew"),
    [
        ((("public.a", "1"), ("public.b", "2")), None),
        ((("public.a", "1"), ("public.c", "3")), None),
        ((), None),
        ((("public.a", "7"), ("public.b", "2")), "(public.a)"),
    ],
)
def test_a_query_over_a_table_made_anew_is_told_and_one_that_reads_others_is_not(
    reads: tuple[tuple[str, str], ...], anew: str | None
) -> None:
    before = replace(BEFORE, relation="", reads=(("public.a", "1"), ("public.b", "2")))
    why = why_restored(before, replace(before, reads=reads))
    assert why is None if anew is None else anew in str(why)
    assert why_restored(replace(before, reads=()), before) is None, "an earlier Headrace did not note them"


@pytest.mark.parametrize("progress", [100, 101])
def test_a_database_that_goes_on_is_the_same(progress: int) -> None:
    assert why_restored(BEFORE, replace(BEFORE, progress=progress)) is None


def test_a_standby_behind_the_same_address_is_no_restore_and_makes_nothing_forgotten() -> None:
    standby = replace(BEFORE, branch=None, progress=None)
    assert why_restored(BEFORE, standby) is None
    remembered = SourceSeen(identity=BEFORE).with_identity(standby)
    assert remembered.identity == BEFORE


def test_what_was_known_of_another_database_is_not_kept() -> None:
    other = SourceIdentity(database="system 8, database 5")
    assert SourceSeen(identity=BEFORE).with_identity(other).identity == other


@pytest.mark.parametrize("found", [None, BEFORE])
def test_what_was_never_seen_or_tells_nothing_is_no_restore(found: SourceIdentity | None) -> None:
    assert why_restored(None, found) is None
    assert why_restored(BEFORE, None) is None


def test_what_is_remembered_is_read_as_it_was_written() -> None:
    seen = SourceSeen(identity=replace(BEFORE, reads=(("a", "1"),)), notes=("a note",), restored="why")
    assert SourceSeen.from_text(seen.as_text()) == seen
    assert SourceSeen.from_text(None) == SourceSeen.from_text('{"other": 1}') == SourceSeen()
